"""Downloads by an executor that the engine was given: one that looks as a cluster's client does,
whose workers share files with this machine or not.
"""

import asyncio
import hashlib
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import trustme

from flowsync import Artifact, DeclarativeContent, Engine, Remote, StoredArtifact
from flowsync.errors import SettingsError, WorkersLostError
from flowsync.runtime.executor import Work
from flowsync.runtime.futures_executor import FuturesExecutor
from flowsync.testing.executor_work import echo
from tests.integration.stages.conftest import declare, declare_artifact, remote, sync
from tests.integration.stages.test_hosted_downloads import (
    body,
    done_by_workers,
    offered,
    staged_files,
)
from tests.upstream.behaviours import Hold
from tests.upstream.server import Upstream

SIZES = [0, 1, 4096, 128 * 1024, 128 * 1024 + 1, 1 << 20, (1 << 20) + 1, *range(100, 130)]


@pytest.fixture
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        yield processes


@pytest.fixture
async def apart(
    processes: ProcessPoolExecutor, conninfo: str, tmp_path: Path
) -> AsyncIterator[Engine]:
    """An engine whose workers share no files with it."""
    executor = FuturesExecutor(processes, 2, shares_files=False)
    async with Engine(tmp_path / "home", database_url=conninfo, executor=executor) as engine:
        yield engine
    await executor.close()


def expect_stored(items: Sequence[DeclarativeContent], sizes: Sequence[int]) -> None:
    for number, (item, size) in enumerate(zip(items, sizes, strict=True)):
        artifact = item.d_artifacts[0].artifact
        assert isinstance(artifact, StoredArtifact)
        with artifact.open() as file:
            assert file.read() == body(number, size)


@pytest.mark.parametrize("shares_files", [False, True], ids=["apart", "shared"])
async def test_sync_through_an_executor_comes_to_the_same_as_one_without(
    processes: ProcessPoolExecutor,
    shares_files: bool,
    conninfo: str,
    upstream: Upstream,
    tmp_path: Path,
) -> None:
    executor = FuturesExecutor(processes, 2, shares_files=shares_files)
    items = offered(upstream, SIZES, remote())

    async with Engine(tmp_path / "home", database_url=conninfo, executor=executor) as engine:
        declarative = sync(engine, items)
        await declarative.acreate()

        assert done_by_workers(declarative) == len(SIZES) - 1
        assert declarative.result is not None
        assert (declarative.result.downloaded, declarative.result.bytes) == (
            len(SIZES),
            sum(SIZES),
        )
        assert staged_files(tmp_path) == []
        expect_stored(items, SIZES)
    # The engine did not open it, and leaves it open.
    assert await executor.submit(echo, b"open") == b"open"
    await executor.close()


async def test_what_needs_files_of_this_machine_stays_here(
    apart: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"here")
    here = Remote(name="here", url=tmp_path.as_uri())
    certificate = tmp_path / "ca.pem"
    certificate.write_bytes(trustme.CA().cert_pem.bytes())
    certified = Remote(name="certified", url="http://localhost/", ca_cert=str(certificate))
    known = Artifact(size=4, sha256=hashlib.sha256(b"here").hexdigest())
    other = Artifact(size=5, sha256=hashlib.sha256(b"there").hexdigest())
    url = upstream.put("/certified", b"there")
    items = [
        *offered(upstream, [100], remote()),
        declare("file", declare_artifact(here, file.as_uri(), path="file", artifact=known)),
        declare("certified", declare_artifact(certified, url, path="certified", artifact=other)),
    ]
    declarative = sync(apart, items)

    await declarative.acreate()

    assert done_by_workers(declarative) == 1
    assert declarative.result is not None
    assert declarative.result.downloaded == 3


class FlippingExecutor(FuturesExecutor):
    """Replies come over a way on which bytes change."""

    def submit(self, work: Work, request: bytes) -> "asyncio.Future[bytes]":
        return asyncio.ensure_future(self._flipped(super().submit(work, request)))

    async def _flipped(self, reply: "asyncio.Future[bytes]") -> bytes:
        return (await reply).replace(body(3, 100), body(4, 100))


async def test_bytes_that_changed_on_their_way_are_fetched_anew(
    processes: ProcessPoolExecutor,
    conninfo: str,
    upstream: Upstream,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor = FlippingExecutor(processes, 2, shares_files=False)
    sizes = [100] * 8
    items = offered(upstream, sizes, remote())

    async with Engine(tmp_path / "home", database_url=conninfo, executor=executor) as engine:
        await sync(engine, items).acreate()

        assert [upstream.count(f"/{number}") for number in range(8)] == [1, 1, 1, 2, 1, 1, 1, 1]
        expect_stored(items, sizes)
    assert "3 came from a worker as other bytes than it sent, and is fetched anew" in caplog.text
    await executor.close()


async def test_lost_workers_fail_the_sync_and_nothing_else(
    apart: Engine, processes: ProcessPoolExecutor, upstream: Upstream, tmp_path: Path
) -> None:
    items = offered(upstream, [100] * 9, remote())
    upstream.always("/7", Hold())
    syncing = asyncio.create_task(sync(apart, items).acreate())
    await asyncio.to_thread(upstream.wait_for, 1, "/7")

    for pid in tuple(processes._processes):
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(WorkersLostError, match="its workers are lost: BrokenProcessPool"):
        await syncing
    upstream.release()
    assert staged_files(tmp_path) == []
    assert apart.budget.items_in_flight == 0


async def test_cancelled_sync_does_not_wait_for_workers_elsewhere(
    apart: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    items = offered(upstream, [100] * 6, remote())
    upstream.always("/5", Hold())
    syncing = asyncio.create_task(sync(apart, items).acreate())
    await asyncio.to_thread(upstream.wait_for, 1, "/5")

    syncing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await syncing
    upstream.release()

    assert staged_files(tmp_path) == []
    assert apart.budget.items_in_flight == 0


def test_engine_has_workers_or_an_executor(processes: ProcessPoolExecutor, tmp_path: Path) -> None:
    executor = FuturesExecutor(processes, 2, shares_files=True)

    with pytest.raises(SettingsError, match="1 worker processes or by an executor, found both"):
        Engine(tmp_path, workers=1, executor=executor)
