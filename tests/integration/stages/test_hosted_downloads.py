"""Downloads in worker processes: a sync with them comes to the same as one without."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from copy import copy
from pathlib import Path

import pytest

from flowsync import (
    Artifact,
    Content,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Remote,
    Repository,
    Stage,
    StoredArtifact,
)
from flowsync.errors import CannotCrossError, DigestMismatchError
from flowsync.runtime.local_processes import LocalProcesses
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
    assert isinstance(engine.workers.executor, LocalProcesses)
    return engine.workers.executor.pids


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


def done_by_workers(declarative: DeclarativeVersion) -> int:
    """Return how many contents went through the downloaders of the workers."""
    (segment,) = (each for each in declarative.statistics if each.stage == "HostedDownloads")
    outputs = [stage.output for stage in segment.hosted]
    return sum(output.sent for output in outputs if output is not None)


async def test_workers_do_the_small_downloads_and_no_others(
    hosting: Engine, upstream: Upstream
) -> None:
    """Contents of more than a mebibyte, or of unknown size, could hold up the others of their
    batch.
    """
    mebibyte = 1 << 20
    items = offered(upstream, [10] * 20 + [mebibyte, mebibyte + 1, 5 * mebibyte], remote())
    unknown = declare_artifact(remote("other"), upstream.put("/u", b"unknown"), path="u")
    halves = [
        declare_artifact(
            remote("halves"),
            upstream.put(f"/{path}", body(1, 600_000)),
            path=path,
            artifact=Artifact(size=600_000),
        )
        for path in ("left", "right")
    ]
    several = [declare("unknown", unknown), declare("halves", *halves)]
    declarative = sync(hosting, [*items, *several])

    await declarative.acreate()

    assert done_by_workers(declarative) == 21
    assert declarative.result is not None
    assert declarative.result.downloaded == 26


async def test_same_bytes_are_fetched_once_over_two_syncs_and_all_workers(
    hosting: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    """Downloads in flight are shared by digest, over processes too. Every third content has the
    same bytes.
    """
    first = offered(upstream, [2000 if n % 3 else 70_000 for n in range(300)], remote())
    shared = body(0, 70_000)
    for number in range(0, 300, 3):
        upstream.put(f"/{number}", shared)
        artifact = Artifact(size=len(shared), sha256=hashlib.sha256(shared).hexdigest())
        first[number].d_artifacts[0].artifact = artifact
    second = [declare(f"second-{n}", copy(item.d_artifacts[0])) for n, item in enumerate(first)]
    syncs = [sync(hosting, first, name="first"), sync(hosting, second, name="second")]

    await asyncio.gather(*(declarative.acreate() for declarative in syncs))

    assert sum(upstream.count(f"/{number}") for number in range(0, 300, 3)) == 1
    assert upstream.count() == 201
    assert sum(map(done_by_workers, syncs)) > 0
    for item in (*first, *second):
        artifact = item.d_artifacts[0].artifact
        assert isinstance(artifact, StoredArtifact)
    assert staged_files(tmp_path) == []


async def test_file_that_does_not_come_holds_up_nobody_for_long(
    hosting: Engine, upstream: Upstream
) -> None:
    """Its batch comes back without it, and it is fetched where nobody waits for it."""
    items = offered(upstream, [100] * 30, remote())
    upstream.always("/7", Hold())
    declarative = sync(hosting, items)
    syncing = asyncio.create_task(declarative.acreate())

    await asyncio.to_thread(upstream.wait_for, 2, "/7")
    upstream.release()
    await syncing

    assert [upstream.count(f"/{number}") for number in range(30)] == [1] * 7 + [2] + [1] * 22
    assert done_by_workers(declarative) == 30
    assert declarative.result is not None
    assert declarative.result.downloaded == 30
    assert hosting.budget.items_in_flight == 0


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
    upstream.put("/3", b"other bits")

    with pytest.raises(DigestMismatchError) as caught:
        await sync(hosting, items).acreate()

    assert caught.value.algorithm == "sha256"
    assert caught.value.found == hashlib.sha256(b"other bits").hexdigest()
    notes = caught.value.__notes__
    assert any(note.startswith("in worker process ") and "sources.py" in note for note in notes)
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
        declare_artifact(remote(), url, path="now", artifact=Artifact(size=3)),
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

    url = upstream.put("/a", b"a")
    artifact = declare_artifact(remote(), url, path="a", artifact=Artifact(size=1))
    item = DeclarativeContent(Unknown(name="u"), [artifact])

    with pytest.raises(CannotCrossError, match=r"<locals>\.Unknown"):
        await sync(hosting, [item]).acreate()


SCRIPT = """
import asyncio, sys
from flowsync import *

class Own(Content):
    type_name = "own"
    natural_key = ("name",)
    name: str

class First(Stage):
    async def run(self):
        remote = Remote(name="upstream", url=sys.argv[3])
        for name in "abc":
            artifact = DeclarativeArtifact(
                Artifact(size=1), url=sys.argv[3] + name, relative_path=name, remote=remote
            )
            await self.put(DeclarativeContent(Own(name=name), [artifact]))

engine = Engine(sys.argv[1], database_url=sys.argv[2], workers=2)
print(DeclarativeVersion(First(), Repository(name="own"), engine=engine).create().present)
"""


def test_content_of_a_script_is_downloaded_in_its_own_process(
    conninfo: str, upstream: Upstream, tmp_path: Path
) -> None:
    """Workers do not run the script and cannot know its classes; whoever writes one has done
    nothing wrong.
    """
    for name in "abc":
        upstream.put(f"/{name}", name.encode())
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "home"), conninfo, upstream.url("/")]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout == "3\n"
    assert "Own is defined in the main script" in done.stderr
    assert done.stderr.count("\n") == 1


async def test_closing_the_engine_ends_its_workers(
    conninfo: str, upstream: Upstream, tmp_path: Path
) -> None:
    async with Engine(tmp_path / "home", database_url=conninfo, workers=1) as engine:
        await sync(engine, offered(upstream, [10], remote())).acreate()
        (pid,) = pids(engine)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
