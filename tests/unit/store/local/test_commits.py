"""Batches that become durable together, with a disk that is slow or fails as a test wants it."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from flowsync.errors import StoreError
from flowsync.model.artifact import StagedArtifact
from flowsync.runtime.tasks import in_thread
from flowsync.store.local.writer import Commits


def artifact(name: str) -> StagedArtifact:
    return StagedArtifact(sha256=name, size=0)


class Disk:
    """Takes batches one by one, each when it is `free`; refuses those with a bad artifact."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.busy = asyncio.Event()
        self.taken: list[list[str]] = []
        self._loop = asyncio.get_running_loop()

    async def persist(self, artifacts: Sequence[StagedArtifact]) -> None:
        await in_thread(self._persist, [str(artifact.sha256) for artifact in artifacts])

    def _persist(self, names: list[str]) -> None:
        self._loop.call_soon_threadsafe(self.busy.set)
        self.free.wait(20)
        if "bad" in names:
            raise StoreError("bad")
        self.taken.append(names)


@pytest.fixture
async def disk() -> Disk:
    return Disk()


async def start(commits: Commits, *batches: Sequence[str]) -> list[asyncio.Task[None]]:
    """Begin to make batches durable, in this order."""
    tasks = [
        asyncio.create_task(commits.make([artifact(name) for name in batch])) for batch in batches
    ]
    await asyncio.sleep(0)
    return tasks


async def test_what_comes_while_a_batch_is_written_goes_together(disk: Disk) -> None:
    commits = Commits(disk.persist)
    tasks = await start(commits, ["a"])
    await disk.busy.wait()
    tasks += await start(commits, ["b", "c"], ["d"])
    disk.free.set()

    await asyncio.gather(*tasks)
    await commits.make([artifact("e")])

    assert disk.taken == [["a"], ["b", "c", "d"], ["e"]]


async def test_a_batch_that_is_large_enough_goes_alone(disk: Disk) -> None:
    commits = Commits(disk.persist)
    tasks = await start(commits, ["a"])
    await disk.busy.wait()
    tasks += await start(commits, ["b"] * 2000, ["c"])
    disk.free.set()

    await asyncio.gather(*tasks)

    assert [len(batch) for batch in disk.taken] == [1, 2000, 1]


async def test_a_batch_that_fails_fails_alone(disk: Disk) -> None:
    commits = Commits(disk.persist)
    tasks = await start(commits, ["a"])
    await disk.busy.wait()
    tasks += await start(commits, ["b"], ["bad"], ["c"])
    disk.free.set()

    ended = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(one) for one in ended] == [type(None), type(None), StoreError, type(None)]
    assert disk.taken == [["a"], ["b"], ["c"]]


async def test_a_batch_cancelled_while_it_waits_is_not_written(disk: Disk) -> None:
    commits = Commits(disk.persist)
    first, second, third = [
        *await start(commits, ["a"]),
        *await start(commits, ["b"]),
        *await start(commits, ["c"]),
    ]
    await disk.busy.wait()

    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    disk.free.set()
    await asyncio.gather(first, third)

    assert disk.taken == [["a"], ["c"]]


async def test_a_batch_cancelled_while_it_is_written_ends_when_nobody_works_on_it(
    disk: Disk,
) -> None:
    commits = Commits(disk.persist)
    (task,) = await start(commits, ["a"])
    await disk.busy.wait()

    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    disk.free.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert disk.taken == [["a"]]


def test_a_loop_that_ends_leaves_nobody_waiting() -> None:
    taken: list[list[str]] = []

    async def leave() -> None:
        disk = Disk()
        disk.taken = taken
        commits = Commits(disk.persist)
        await start(commits, ["a"])
        await disk.busy.wait()
        await start(commits, ["b"])
        disk.free.set()

    asyncio.run(leave())

    assert taken[0] == ["a"]
