"""Whatever way an upstream changes that keeps dates, sizes or names, the next sync notices it: with
a real server that sends no entity tags.
"""

import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowsync import DeclarativeVersion, Engine, NewVersion, Remote, Repository, Stage
from flowsync.sources.file import FileFirstStage
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.behaviours import MeansWeak
from tests.upstream.server import Upstream

LONG_AGO = 1_700_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "served"
    made.mkdir()
    return made


@pytest.fixture
def plain_server(folder: Path) -> Iterator[str]:
    """Serve the folder by `python -m http.server`, which answers `If-Modified-Since` and sends no
    entity tags.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}/PULP_MANIFEST"
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
        else:
            return


def write(folder: Path, body: bytes, *, moment: float | None = None) -> None:
    """Publish one file and its manifest, whose size is always the same."""
    (folder / "a").write_bytes(body)
    manifest = folder / "PULP_MANIFEST"
    manifest.write_text(f"a,{hashlib.sha256(body).hexdigest()},{len(body)}\n")
    if moment is not None:
        os.utime(manifest, (moment, moment))


def replaced(folder: Path, body: bytes, *, moment: float) -> None:
    new = folder.parent / "new"
    new.mkdir()
    write(new, body, moment=moment)
    for name in ("a", "PULP_MANIFEST"):
        os.replace(new / name, folder / name)


WAYS: dict[str, Callable[[Path], None]] = {
    "an older date": lambda folder: write(folder, b"two", moment=LONG_AGO - 86_400),
    "the same date": lambda folder: write(folder, b"two", moment=LONG_AGO),
    "the same second": lambda folder: write(folder, b"two", moment=LONG_AGO + 0.9),
    "a newer date": lambda folder: write(folder, b"two"),
    "another file of the same date": lambda folder: replaced(folder, b"two", moment=LONG_AGO),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("over", ["http", "file"])
async def test_a_manifest_that_changes_in_any_way_is_noticed(
    engine: Engine, file_sync: Sync, folder: Path, plain_server: str, over: str, way: str
) -> None:
    url = plain_server if over == "http" else (folder / "PULP_MANIFEST").as_uri()
    write(folder, b"one", moment=LONG_AGO)
    await file_sync(url, mirror=True).acreate()
    unchanged = file_sync(url, mirror=True)
    await unchanged.acreate()

    WAYS[way](folder)
    version = await file_sync(url, mirror=True).acreate()

    assert unchanged.result is not None
    assert unchanged.result.skipped
    assert version is not None
    assert (version.added, version.removed) == (1, 1)


async def test_an_answer_that_means_another_tag_is_no_proof(
    upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish({"a": b"one"})
    await file_sync(url).acreate()
    publish({"a": b"two"})
    upstream.script("/PULP_MANIFEST", MeansWeak())

    version = await file_sync(url).acreate()

    assert version is not None
    assert [seen.status for seen in upstream.requests("/PULP_MANIFEST")] == [200, 304, 200]


@pytest.mark.parametrize("tag", ["weak", None])
async def test_what_is_no_proof_is_fetched_again(
    upstream: Upstream, publish: Publish, file_sync: Sync, tag: str | None
) -> None:
    """A weak tag stands for anything that would do as well, and a date for nothing."""
    body = b"a,7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed,3"
    publish({"a": b"one"})
    url = upstream.put("/PULP_MANIFEST", body, etag=tag)
    await file_sync(url).acreate()

    again = file_sync(url)
    await again.acreate()

    assert again.result is not None
    assert again.result.skipped
    assert [seen.status for seen in upstream.requests("/PULP_MANIFEST")] == [200, 200]
    asked = upstream.requests("/PULP_MANIFEST")[-1].headers
    assert {"if-none-match", "if-modified-since"}.isdisjoint(asked)


class Fewer(Stage):
    """Drops one file."""

    async def run(self) -> None:
        async for item in self.items():
            if item.content.relative_path == "b":
                item.resolve()
            else:
                await self.put(item)


class FewerVersion(DeclarativeVersion):
    def pipeline_stages(self, new_version: NewVersion) -> list[Stage]:
        first, *others = super().pipeline_stages(new_version)
        return [first, Fewer(), *others]


async def test_a_sync_of_other_stages_did_something_else(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    url = publish({"a": b"one", "b": b"two"})
    stage = FileFirstStage(Remote(name="files", url=url, max_retries=0))
    await FewerVersion(stage, Repository(name="files"), engine=engine).acreate()

    await file_sync(url).acreate()

    assert set(await paths(engine)) == {"a", "b"}
