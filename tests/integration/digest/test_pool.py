"""Hashing in real worker processes.

A named pipe stands in for a file that takes its time: a worker waits in it until the test, having
opened the other end, lets it go on.
"""

import asyncio
import hashlib
import os
import select
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowsync.digest.pool import Hasher
from flowsync.errors import DeclarationError, HashingError, SettingsError, StoreError

NONE: frozenset[str] = frozenset()
ABC_SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
ABC = (
    3,
    {
        "sha256": ABC_SHA256,
        "blake3": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
    },
)


@pytest.fixture
async def hasher() -> AsyncIterator[Hasher]:
    async with Hasher(1) as opened:
        yield opened


@pytest.fixture
def abc(tmp_path: Path) -> str:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    return str(path)


class SlowFile:
    """A named pipe in which a worker waits."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)

    async def reached(self) -> int:
        """Wait until a worker reads; return the end to write to."""
        return await asyncio.to_thread(os.open, self.path, os.O_WRONLY)

    @staticmethod
    async def deserted(writing: int) -> None:
        """Wait until the worker that read is dead."""
        readers = select.poll()
        readers.register(writing, 0)
        await asyncio.to_thread(readers.poll)
        os.close(writing)

    @staticmethod
    def let_go(writing: int) -> None:
        """Give the worker "abc" and the end of the file."""
        os.write(writing, b"abc")
        os.close(writing)


def kill_worker(hasher: Hasher) -> None:
    (pid,) = hasher.worker_pids
    os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_file_is_digested_in_another_process(hasher: Hasher, abc: str) -> None:
    size, digests = await hasher.digest(abc, frozenset({"md5"}))

    assert size == 3
    assert digests == {**ABC[1], "md5": "900150983cd24fb0d6963f7d28e17f72"}
    assert os.getpid() not in hasher.worker_pids


async def test_empty_file_has_size_zero(hasher: Hasher, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    size, digests = await hasher.digest(str(tmp_path / "empty"), NONE)

    assert size == 0
    assert digests["sha256"].startswith("e3b0c44298fc1c14")


async def test_many_callers_at_once_get_each_their_own(tmp_path: Path) -> None:
    bodies = [number.to_bytes(2, "big") * (number + 1) for number in range(500)]
    for number, body in enumerate(bodies):
        (tmp_path / str(number)).write_bytes(body)

    async with Hasher(2) as hasher:
        answers = await asyncio.gather(
            *(hasher.digest(str(tmp_path / str(number)), NONE) for number in range(500))
        )

    assert [size for size, _ in answers] == [len(body) for body in bodies]
    assert [digests["sha256"] for _, digests in answers] == [
        hashlib.sha256(body).hexdigest() for body in bodies
    ]


async def test_size_that_the_caller_knows_is_only_a_hint(hasher: Hasher, abc: str) -> None:
    assert await hasher.digest(abc, NONE, size=10**12) == ABC


@pytest.mark.parametrize("size", [None, 3], ids=["seen by the parent", "seen by the worker"])
async def test_file_that_vanished_fails_alone(
    hasher: Hasher, abc: str, tmp_path: Path, size: int | None
) -> None:
    gone = str(tmp_path / "gone")

    first, missing, last = await asyncio.gather(
        hasher.digest(abc, NONE, size=size),
        hasher.digest(gone, NONE, size=size),
        hasher.digest(abc, NONE, size=size),
        return_exceptions=True,
    )

    assert first == last == ABC
    assert isinstance(missing, StoreError)
    assert str(missing) == f"hashing {gone}: No such file or directory"
    assert isinstance(missing.__cause__, FileNotFoundError)


async def test_what_is_no_file_is_refused(hasher: Hasher, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Is a directory"):
        await hasher.digest(str(tmp_path), NONE)
    with pytest.raises(StoreError, match="null"):
        await hasher.digest("nul\0byte", NONE, size=1)


async def test_unknown_algorithm_is_refused_before_any_process_starts(
    hasher: Hasher, abc: str
) -> None:
    with pytest.raises(DeclarationError, match="crc32"):
        await hasher.digest(abc, frozenset({"crc32"}))

    assert hasher.worker_pids == ()


async def test_workers_must_be_at_least_one() -> None:
    with pytest.raises(SettingsError, match="at least 1 worker, found 0"):
        Hasher(0)


async def test_cancelled_waiter_harms_no_other_of_its_batch(
    hasher: Hasher, abc: str, tmp_path: Path
) -> None:
    slow = SlowFile(tmp_path / "slow")
    cancelled = asyncio.create_task(hasher.digest(slow.path, NONE))
    kept = asyncio.create_task(hasher.digest(abc, NONE))
    writing = await slow.reached()

    cancelled.cancel()
    slow.let_go(writing)

    assert await kept == ABC
    assert cancelled.cancelled()


async def test_cancelled_path_that_has_not_left_is_not_hashed(
    hasher: Hasher, abc: str, tmp_path: Path
) -> None:
    """One worker has room for two batches; the third path waits. Nobody ever lets it go."""
    slow, slower, never = (SlowFile(tmp_path / name) for name in ("slow", "slower", "never"))
    first = asyncio.create_task(hasher.digest(slow.path, NONE))
    writing = await slow.reached()
    second = asyncio.create_task(hasher.digest(slower.path, NONE))
    await turns_of_the_loop()
    third = asyncio.create_task(hasher.digest(never.path, NONE))
    await turns_of_the_loop()

    third.cancel()
    last = asyncio.create_task(hasher.digest(abc, NONE))
    slow.let_go(writing)
    slower.let_go(await slower.reached())

    assert [await task for task in (first, second, last)] == [ABC, ABC, ABC]


async def turns_of_the_loop() -> None:
    """Let a path leave if there is room: that takes the turn in which it came and the next."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_no_item_is_lost_when_a_busy_worker_is_killed(
    hasher: Hasher, abc: str, tmp_path: Path
) -> None:
    slow = SlowFile(tmp_path / "slow")
    tasks = [asyncio.create_task(hasher.digest(path, NONE)) for path in (abc, slow.path, abc)]
    writing = await slow.reached()
    (killed,) = hasher.worker_pids

    kill_worker(hasher)
    await slow.deserted(writing)
    slow.let_go(await slow.reached())

    assert await asyncio.gather(*tasks) == [ABC, ABC, ABC]
    assert killed not in hasher.worker_pids


async def test_worker_killed_while_idle_is_replaced(hasher: Hasher, abc: str) -> None:
    await hasher.digest(abc, NONE)

    for _ in range(5):
        kill_worker(hasher)
        assert await hasher.digest(abc, NONE) == ABC


async def test_path_that_kills_three_workers_is_given_up_alone(
    hasher: Hasher, abc: str, tmp_path: Path
) -> None:
    slow = SlowFile(tmp_path / "slow")
    deadly = asyncio.create_task(hasher.digest(slow.path, NONE))
    bystanders = [asyncio.create_task(hasher.digest(abc, NONE)) for _ in range(3)]

    for _ in range(3):
        writing = await slow.reached()
        kill_worker(hasher)
        await slow.deserted(writing)

    with pytest.raises(HashingError, match=r"hashing .*/slow: the hash workers failed 3 times"):
        await deadly
    assert await asyncio.gather(*bystanders) == [ABC, ABC, ABC]


async def test_no_worker_outlives_close(abc: str) -> None:
    async with Hasher(2) as hasher:
        await hasher.digest(abc, NONE)
        pids = hasher.worker_pids

    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


async def test_no_worker_outlives_close_after_one_was_killed(abc: str) -> None:
    async with Hasher(2) as hasher:
        await hasher.digest(abc, NONE)
        pids = hasher.worker_pids
        os.kill(pids[0], signal.SIGKILL)

    assert not any(is_alive(pid) for pid in pids)


async def test_close_ends_a_busy_worker_and_tells_its_waiter(tmp_path: Path) -> None:
    slow, later = SlowFile(tmp_path / "slow"), SlowFile(tmp_path / "later")
    hasher = Hasher(1)
    waiter = asyncio.create_task(hasher.digest(slow.path, NONE))
    writing = await slow.reached()
    behind = [asyncio.create_task(hasher.digest(later.path, NONE)) for _ in range(3)]
    await turns_of_the_loop()
    pids = hasher.worker_pids

    await hasher.close()
    os.close(writing)

    for task in (waiter, *behind):
        with pytest.raises(HashingError, match="the hash workers are closed"):
            await task
    assert not any(is_alive(pid) for pid in pids)


async def test_close_while_workers_start_ends_them(abc: str) -> None:
    hasher = Hasher(1)
    waiter = asyncio.create_task(hasher.digest(abc, NONE))
    await turns_of_the_loop()

    await hasher.close()

    with pytest.raises(HashingError, match="closed"):
        await waiter
    assert hasher.worker_pids == ()


async def test_closed_hasher_refuses(abc: str) -> None:
    hasher = Hasher(1)
    await hasher.close()
    await hasher.close()

    with pytest.raises(HashingError, match=f"hashing {abc}: the hash workers are closed"):
        await hasher.digest(abc, NONE)
