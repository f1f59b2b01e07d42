"""Hashing beside a loop that never rests: why workers are processes and not threads.

The loop turns without a pause, each turn 100 µs of Python, while 32 files at a time are digested by
one thread or one worker process. Left out: all that a real loop waits for, which gives threads more
room than here. `python bench/digest/bench_busy_loop.py` prints the speed and the share of the time
that the loop had for its turns, medians of five runs; with pytest each point is a bench.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import uvloop

from flowsync.digest.hashing import digest_file
from flowsync.digest.pool import Hasher

SIZES = tuple(kib * 1024 for kib in (256, 1024, 16 * 1024))
BYTES = 256 * 1024 * 1024
IN_FLIGHT = 32
TURN = 100e-6
RUNS = 5
NONE: frozenset[str] = frozenset()

Digest = Callable[[str], Awaitable[object]]


@asynccontextmanager
async def thread() -> AsyncIterator[Digest]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as threads:
        yield lambda path: loop.run_in_executor(threads, digest_file, path, NONE)


@asynccontextmanager
async def process() -> AsyncIterator[Digest]:
    async with Hasher(1) as hasher:
        await hasher.digest("/dev/null", NONE)
        yield lambda path: hasher.digest(path, NONE)


WAYS = {"thread": thread, "process": process}


async def measure(way: str, paths: list[str]) -> tuple[float, float]:
    """Digest all files; return the seconds it took and the share of them that the loop had."""
    async with WAYS[way]() as digest:
        waiting = iter(paths)
        turns = 0
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_digest_next(digest, waiting)) for _ in range(IN_FLIGHT)]
            everything = asyncio.gather(*tasks)
            while not everything.done():
                _turn()
                turns += 1
                await asyncio.sleep(0)
        seconds = time.perf_counter() - start
    return seconds, turns * TURN / seconds


async def _digest_next(digest: Digest, waiting: Iterator[str]) -> None:
    for path in waiting:
        await digest(path)


def _turn() -> None:
    # A fixed amount of CPU time, not of time: what the thread is kept from doing does not count.
    end = time.thread_time() + TURN
    while time.thread_time() < end:
        pass


def _write_files(folder: Path, size: int, count: int) -> list[str]:
    paths = [folder / f"{size}-{number}" for number in range(count)]
    for path in paths:
        path.write_bytes(bytes(size))
    return [str(path) for path in paths]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
def bench_busy_loop(benchmark: Any, tmp_path: Path, way: str, size: int) -> None:
    size, count = (1024, 1) if benchmark.disabled else (size, BYTES // size)
    paths = _write_files(tmp_path, size, count)
    _, share = benchmark.pedantic(
        lambda: uvloop.run(measure(way, paths)), rounds=1 if benchmark.disabled else RUNS
    )
    benchmark.extra_info["loop_share"] = share


def main() -> None:
    """Print the figures."""
    for size in SIZES:
        with TemporaryDirectory() as folder:
            paths = _write_files(Path(folder), size, BYTES // size)
            for way in WAYS:
                runs = [uvloop.run(measure(way, paths)) for _ in range(RUNS)]
                seconds, share = (median(values) for values in zip(*runs, strict=True))
                speed = BYTES / 1e6 / seconds
                print(f"{size // 1024:6} KiB {way:8} {speed:5.0f} MB/s, loop had {share:.0%}")


if __name__ == "__main__":
    main()
