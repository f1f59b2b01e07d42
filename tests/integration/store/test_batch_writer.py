"""Batches of small files: written by a worker process, with the promises of any batch."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from flowsync.errors import StoreError, StoreFullError
from flowsync.model.artifact import StagedArtifact
from flowsync.store.local.writer import LARGE, MOST_BYTES, START_AFTER, BatchWriter, WriteTarget
from flowsync.testing.bodies import as_file, in_memory, name_of
from tests.mounts import mounted

MANY = 100


def bodies(label: str, number: int = MANY) -> list[bytes]:
    return [f"{label} {each}".encode() for each in range(number)]


def batch(label: str, number: int = MANY) -> list[StagedArtifact]:
    return [in_memory(body) for body in bodies(label, number)]


def make_site(root: Path) -> WriteTarget:
    site = WriteTarget(str(root / "blake3"), str(root / "staging"), str(root / "staging" / "own"))
    for folder in (site.root, site.scratch):
        os.makedirs(folder)
    return site


def blob(site: WriteTarget, artifact: StagedArtifact) -> Path:
    return Path(site.root, str(artifact.blake3)[:2], str(artifact.blake3))


def stored(site: WriteTarget, artifacts: Sequence[StagedArtifact]) -> bool:
    return all(name_of(blob(site, each).read_bytes()) == each.blake3 for each in artifacts)


async def let_start(writer: BatchWriter) -> int:
    """Write until the worker is there, and return its process id."""
    await writer.persist(batch("to begin with", START_AFTER + 1))
    async with asyncio.timeout(30):
        while not writer.worker_pids:  # noqa: ASYNC110 - another process's event
            await asyncio.sleep(0.01)
    (pid,) = writer.worker_pids
    return pid


@pytest.fixture
def site(tmp_path: Path) -> WriteTarget:
    return make_site(tmp_path)


@pytest.fixture
async def writer(site: WriteTarget) -> AsyncIterator[BatchWriter]:
    writer = BatchWriter(site)
    yield writer
    await writer.close()


async def test_worker_starts_once_there_was_much_to_write(writer: BatchWriter) -> None:
    for number in range(START_AFTER // LARGE):
        await writer.persist(batch(f"large {number}", LARGE))
        await writer.persist(batch(f"small {number}", LARGE - 1))
    assert writer.worker_pids == ()

    assert await let_start(writer) != os.getpid()


async def test_what_a_worker_writes_is_what_a_thread_writes(
    writer: BatchWriter, site: WriteTarget
) -> None:
    """Bodies and staged files, some of them there already, one of them damaged."""
    pid = await let_start(writer)
    there, damaged = batch("there", 3), in_memory(b"damaged")
    await writer.persist([*there, damaged])
    blob(site, damaged).chmod(0o600)
    blob(site, damaged).write_bytes(b"garbage")
    inodes = [blob(site, each).stat().st_ino for each in there]
    staged = [as_file(site.scratch, body) for body in bodies("staged", 5)]
    artifacts = [*batch("fresh"), *there, damaged, damaged, *staged]

    await writer.persist(artifacts)

    assert writer.worker_pids == (pid,)
    assert stored(site, artifacts)
    assert [blob(site, each).stat().st_ino for each in there] == inodes
    assert {path.stat().st_mode & 0o777 for path in Path(site.root).glob("*/*")} == {0o444}
    assert [path for path in Path(site.scratch).rglob("*") if path.is_file()] == []


async def test_batch_of_a_worker_that_is_killed_is_written_all_the_same(
    writer: BatchWriter, site: WriteTarget
) -> None:
    pid = await let_start(writer)
    artifacts = batch("lost", 2000)
    writing = asyncio.create_task(writer.persist(artifacts))
    # Anywhere between before the first file and after the last one.
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    await writing

    assert stored(site, artifacts)
    assert writer.worker_pids in {(), (pid,)}
    await writer.persist(batch("next"))
    assert writer.worker_pids == ()
    assert await let_start(writer) != pid


@pytest.mark.parametrize("size", [100, 3000], ids=["socket", "memory"])
async def test_worker_that_dies_while_a_batch_is_on_its_way_holds_nobody_up(
    writer: BatchWriter, site: WriteTarget, size: int
) -> None:
    """It never reads the batch, of which a pipe would hold a part only."""
    pid = await let_start(writer)
    os.kill(pid, signal.SIGSTOP)
    artifacts = [in_memory(body.ljust(size)) for body in bodies("on its way", 400)]
    writing = asyncio.create_task(writer.persist(artifacts))
    done, _ = await asyncio.wait((writing,), timeout=0.1)
    assert not done
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        await writing
        await writer.close()

    assert stored(site, artifacts)


async def test_error_of_a_worker_is_that_of_a_thread(writer: BatchWriter, tmp_path: Path) -> None:
    await let_start(writer)
    elsewhere = as_file(str(tmp_path), b"mine")

    with pytest.raises(StoreError, match=r"is not below .*staging"):
        await writer.persist([*batch("beside it"), elsewhere])

    assert Path(str(elsewhere.file)).read_bytes() == b"mine"
    assert writer.worker_pids


async def test_full_disk_stops_a_worker_as_it_stops_a_thread(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=8m", "none") as folder:
        writer = BatchWriter(make_site(folder))
        try:
            await let_start(writer)
            large = [in_memory(body.ljust(20_000)) for body in bodies("large", 4 * MANY)]
            with pytest.raises(StoreFullError):
                await writer.persist(large)
            assert writer.worker_pids
            await writer.persist(large[:MANY])
        finally:
            await writer.close()


async def test_large_bodies_do_not_cross(writer: BatchWriter, site: WriteTarget) -> None:
    pid = await let_start(writer)
    os.kill(pid, signal.SIGSTOP)
    try:
        size = MOST_BYTES // MANY + 1
        large = [in_memory(body.ljust(size)) for body in bodies("large")]
        await writer.persist(large)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert stored(site, large)


async def test_cancelling_waits_for_the_worker(writer: BatchWriter, site: WriteTarget) -> None:
    pid = await let_start(writer)
    artifacts = batch("cancelled")
    os.kill(pid, signal.SIGSTOP)
    writing = asyncio.create_task(writer.persist(artifacts))
    try:
        await asyncio.sleep(0)
        writing.cancel()
        done, _ = await asyncio.wait((writing,), timeout=0.05)
        assert not done
    finally:
        os.kill(pid, signal.SIGCONT)
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert stored(site, artifacts)


async def test_closing_ends_the_worker(site: WriteTarget) -> None:
    writer = BatchWriter(site)
    pid = await let_start(writer)
    await writer.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert writer.worker_pids == ()
