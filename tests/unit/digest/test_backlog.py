"""Which paths leave together."""

import asyncio
import pickle

from flowsync.digest.backlog import BATCH_BYTES, Backlog, Job
from flowsync.digest.hashing import Answer

MIB = 1024 * 1024


def job(path: str, size: int = 1, *, digests: int = 2, lost: bool = False) -> Job:
    waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    made = Job((path, frozenset()), size, digests, waiter)
    made.was_lost = lost
    return made


def backlog(*jobs: Job) -> Backlog:
    made = Backlog()
    for one in jobs:
        made.add(one)
    return made


def paths(jobs: list[Job]) -> list[str]:
    return [one.path for one in jobs]


async def test_batch_takes_all_that_waits_in_order() -> None:
    waiting = backlog(job("a"), job("b"), job("c"))

    assert paths(waiting.take()) == ["a", "b", "c"]
    assert waiting.take() == []


async def test_batch_ends_before_it_holds_too_many_bytes() -> None:
    waiting = backlog(job("a", 3 * MIB), job("b", 5 * MIB), job("c", 1))

    assert BATCH_BYTES == 8 * MIB
    assert paths(waiting.take()) == ["a", "b"]
    assert paths(waiting.take()) == ["c"]


async def test_file_larger_than_a_batch_leaves_alone() -> None:
    waiting = backlog(job("a"), job("huge", 9 * MIB), job("b"))

    assert [paths(waiting.take()) for _ in range(3)] == [["a"], ["huge"], ["b"]]


async def test_batch_ends_at_64_paths_of_two_digests() -> None:
    waiting = backlog(*(job(str(number)) for number in range(65)))

    assert [len(waiting.take()) for _ in range(2)] == [64, 1]


async def test_batch_ends_at_18_paths_of_seven_digests() -> None:
    waiting = backlog(*(job(str(number), digests=7) for number in range(19)))

    assert [len(waiting.take()) for _ in range(2)] == [18, 1]


async def test_waiters_that_gave_up_are_left_out() -> None:
    jobs = [job("a", BATCH_BYTES), job("b"), job("c", BATCH_BYTES), job("d")]
    waiting = backlog(*jobs)
    jobs[0].waiter.cancel()
    jobs[2].waiter.cancel()

    assert paths(waiting.take()) == ["b", "d"]
    assert len(waiting) == 0


async def test_what_a_worker_died_with_comes_first_and_travels_alone() -> None:
    waiting = backlog(job("c"), job("d"))
    waiting.put_back([job("a", lost=True), job("b", lost=True)])

    assert [paths(waiting.take()) for _ in range(3)] == [["a"], ["b"], ["c", "d"]]


async def test_what_a_worker_died_with_is_not_added_to_a_batch() -> None:
    waiting = backlog(job("a"), job("b", lost=True))

    assert paths(waiting.take()) == ["a"]


async def test_answer_of_the_largest_batches_stays_below_16_kib() -> None:
    """A worker that is killed while it answers must not leave half an answer in the pipe."""
    lengths = {
        "sha256": 64,
        "blake3": 64,
        "sha512": 128,
        "sha384": 96,
        "sha224": 56,
        "sha1": 40,
        "md5": 32,
    }

    for algorithms in range(2, 8):
        names = list(lengths)[:algorithms]
        waiting = backlog(*(job(str(number), digests=algorithms) for number in range(100)))
        answers = [
            (2**40 + number, {name: f"{number:0{lengths[name]}x}" for name in names})
            for number, _ in enumerate(waiting.take())
        ]
        assert len(pickle.dumps(answers)) < 15_000
