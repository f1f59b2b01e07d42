"""Downloads in worker processes: a sync with them comes to the same as one without."""

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from flowsync import (
    Artifact,
    Content,
    DeclarativeContent,
    DeclarativeVersion,
    DigestMismatchError,
    Engine,
    Remote,
    Repository,
    Stage,
    StoredArtifact,
)
from flowsync.model.errors import CannotCrossError
from tests.integration.stages.conftest import declare, declare_artifact, remote, sync
from tests.upstream.behaviours import Hold, Status
from tests.upstream.server import Upstream


@pytest.fixture
async def hosting(conninfo: str, tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine with two workers."""
    async with Engine(tmp_path / "home", database_url=conninfo, workers=2) as engine:
        yield engine


def pids(engine: Engine) -> tuple[int, ...]:
    assert engine.workers is not None
    return engine.workers.pool.pids


def staged_files(tmp_path: Path) -> list[Path]:
    """Return what the runs left: the engine itself keeps folders, but no file, besides locks."""
    staging = tmp_path / "home" / "store" / "staging"
    return [path for path in staging.rglob("*") if path.is_file() and path.suffix != ".lock"]


def body(number: int, size: int) -> bytes:
    return (b"%d " % number * (size // 2 + 1))[:size]


def offered(
    upstream: Upstream, sizes: Sequence[int], remote: Remote, **fields: object
) -> list[DeclarativeContent]:
    """Declare a unit of each size, with its digest."""
    items = []
    for number, size in enumerate(sizes):
        content = body(number, size)
        url = upstream.put(f"/{number}", content)
        artifact = Artifact(size=size, sha256=hashlib.sha256(content).hexdigest())
        declared = declare_artifact(remote, url, path=str(number), artifact=artifact, **fields)
        items.append(declare(str(number), declared))
    return items


async def test_bodies_of_all_sizes_arrive_once_in_the_very_declarations(
    hosting: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    sizes = [0, 1, 4096, 128 * 1024, 128 * 1024 + 1, 3_000_000, *range(100, 150)]
    items = offered(upstream, sizes, remote())
    contents = [item.content for item in items]

    declarative = sync(hosting, items)
    await declarative.acreate()

    assert len(pids(hosting)) == 2
    assert [upstream.count(f"/{number}") for number in range(len(sizes))] == [1] * len(sizes)
    for number, (item, content, size) in enumerate(zip(items, contents, sizes, strict=True)):
        assert item.content is content
        artifact = item.d_artifacts[0].artifact
        assert isinstance(artifact, StoredArtifact)
        with artifact.open() as file:
            assert file.read() == body(number, size)
    assert declarative.result is not None
    assert (declarative.result.downloaded, declarative.result.bytes) == (len(sizes), sum(sizes))
    assert staged_files(tmp_path) == []


async def test_workers_do_the_downloads(hosting: Engine, upstream: Upstream) -> None:
    items = offered(upstream, [10] * 20, remote())
    declarative = sync(hosting, items)

    await declarative.acreate()

    outputs = {each.stage: each.output for each in declarative.statistics}
    assert [name for name in outputs if "Download" in name] == [
        "HostedDownloads",
        "ArtifactDownloader",
    ]
    assert hosting.workers is not None
    assert len(hosting.workers.pool.pids) == 2


async def test_awaited_content_is_resolved_one_by_one(hosting: Engine, upstream: Upstream) -> None:
    items = offered(upstream, [10] * 4, remote())
    resolved = []

    class Awaiting(Stage):
        async def run(self) -> None:
            for item in items:
                await self.put(item)
                resolved.append(await item.resolution())

    await DeclarativeVersion(Awaiting(), Repository(name="awaited"), engine=hosting).acreate()

    assert [content.name for content in resolved] == ["0", "1", "2", "3"]


async def test_wrong_bytes_fail_the_sync_as_in_process(
    hosting: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    items = offered(upstream, [10] * 9, remote())
    upstream.put("/3", b"other")
    items[3].d_artifacts[0].artifact = Artifact(sha256=hashlib.sha256(body(3, 10)).hexdigest())

    with pytest.raises(DigestMismatchError) as caught:
        await sync(hosting, items).acreate()

    assert caught.value.algorithm == "sha256"
    assert caught.value.found == hashlib.sha256(b"other").hexdigest()
    notes = caught.value.__notes__
    assert any(note.startswith("in worker process ") and "arrival.py" in note for note in notes)
    assert any("HostedDownloads" in note for note in notes)
    assert staged_files(tmp_path) == []


async def test_content_that_may_be_left_out_is_tried_by_workers_only(
    hosting: Engine, upstream: Upstream
) -> None:
    """The error policy is the pipeline's: workers only say what failed."""
    items = offered(upstream, [10] * 5, remote())
    upstream.always("/2", Status(404))

    declarative = sync(hosting, items, on_error="skip")
    version = await declarative.acreate()

    assert version is not None
    assert version.present == 4
    assert declarative.result is not None
    (left_out,) = declarative.result.left_out
    assert (left_out.relative_path, left_out.action) == ("2", "skipped")
    assert "404" in left_out.reason
    assert upstream.count("/2") == 1


async def test_deferred_and_stored_artifacts_stay_what_they_are(
    hosting: Engine, upstream: Upstream
) -> None:
    url, later = upstream.put("/now", b"now"), upstream.put("/later", b"later")
    item = declare(
        "both",
        declare_artifact(remote(), url, path="now"),
        declare_artifact(remote(), later, path="later", deferred_download=True),
    )

    await sync(hosting, [item]).acreate()

    assert isinstance(item.d_artifacts[0].artifact, StoredArtifact)
    assert not isinstance(item.d_artifacts[1].artifact, StoredArtifact)
    assert upstream.count("/later") == 0


async def test_remote_that_allows_fewer_requests_than_workers_stays_in_process(
    hosting: Engine, upstream: Upstream
) -> None:
    modest = Remote(name="modest", url="http://localhost/", download_concurrency=1)
    items = offered(upstream, [10] * 8, modest)

    await sync(hosting, items).acreate()

    assert upstream.peak == 1
    assert upstream.count() == 8


async def test_workers_together_keep_to_what_a_remote_allows(
    hosting: Engine, upstream: Upstream
) -> None:
    """Each of the two gets half of five."""
    some = Remote(name="some", url="http://localhost/", download_concurrency=5)
    items = offered(upstream, [10] * 60, some)

    await sync(hosting, items).acreate()

    assert upstream.peak <= 4
    assert upstream.count() == 60


async def test_killed_worker_costs_nothing_but_time(
    hosting: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    items = offered(upstream, [2000] * 30, remote())
    upstream.script("/7", Hold())
    syncing = asyncio.create_task(sync(hosting, items).acreate())
    await asyncio.to_thread(upstream.wait_for, 1, "/7")

    for pid in pids(hosting):
        os.kill(pid, signal.SIGKILL)
    version = await syncing

    assert version is not None
    assert version.present == 30
    assert all(isinstance(item.d_artifacts[0].artifact, StoredArtifact) for item in items)
    assert staged_files(tmp_path) == []


async def test_cancelled_sync_leaves_no_file_and_idle_workers(
    hosting: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    items = offered(upstream, [300_000] * 6, remote())
    upstream.always("/5", Hold())
    syncing = asyncio.create_task(sync(hosting, items).acreate())
    await asyncio.to_thread(upstream.wait_for, 1, "/5")
    before = pids(hosting)

    syncing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await syncing

    assert staged_files(tmp_path) == []
    await sync(hosting, offered(upstream, [10] * 3, remote()), name="again").acreate()
    assert pids(hosting) == before
    assert hosting.budget.items_in_flight == 0


async def test_content_that_cannot_cross_fails_with_its_name(
    hosting: Engine, upstream: Upstream
) -> None:
    class Unknown(Content):
        natural_key = ("name",)
        name: str

    artifact = declare_artifact(remote(), upstream.put("/a", b"a"), path="a")
    item = DeclarativeContent(Unknown(name="u"), [artifact])

    with pytest.raises(CannotCrossError, match=r"<locals>\.Unknown"):
        await sync(hosting, [item]).acreate()


async def test_closing_the_engine_ends_its_workers(
    conninfo: str, upstream: Upstream, tmp_path: Path
) -> None:
    async with Engine(tmp_path / "home", database_url=conninfo, workers=1) as engine:
        await sync(engine, offered(upstream, [10], remote())).acreate()
        (pid,) = pids(engine)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
