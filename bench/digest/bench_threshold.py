"""What a digest costs by the size of the body and the way it is computed: where `INLINE_LIMIT` and
the limits of a batch come from.

Bodies are hashed inline, one by one in a thread, or by path in one hash worker; sha256 and BLAKE3
of each. "lone" means one body at a time, as when the network is slower than the workers; "loaded"
means 64 at a time, so that batches form. Files are in the page cache. Left out: writing the files,
which a sync does anyway, and what threads cost a busy loop by waiting for the interpreter lock
(`bench_busy_loop.py`).

Two figures a body, in µs of CPU. Loop: what the loop cannot use for anything else; that is its own
thread, and for workers also the threads of the executor, which hold the interpreter lock when they
run. Total: of all processes together, without the start of the worker.

`python bench/digest/bench_threshold.py` prints the curves, medians of seven runs a point; with
pytest each point is a bench whose own figure is the wall clock's. Linux only: it reads a worker's
CPU time from /proc.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import uvloop

from flowsync.digest.hashing import digest_bytes
from flowsync.digest.pool import Hasher

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

SIZES = tuple(kib * 1024 for kib in (1, 4, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384))
IN_FLIGHT = {"lone": 1, "loaded": 64}
RUNS = 7
NONE: frozenset[str] = frozenset()

Bodies = list[tuple[str, bytes]]
Clock = Callable[[], float]


class Way(NamedTuple):
    """How a body is hashed, and the clocks that tell what it cost, in seconds."""

    hash: Callable[[str, bytes], Awaitable[object]]
    loop: Clock
    total: Clock


class Cost(NamedTuple):
    """Of one body, in µs."""

    loop: float
    total: float


@asynccontextmanager
async def inline() -> AsyncIterator[Way]:
    async def hash_inline(path: str, body: bytes) -> None:
        digest_bytes(body, NONE)

    yield Way(hash_inline, time.process_time, time.process_time)


@asynccontextmanager
async def thread() -> AsyncIterator[Way]:
    async def hash_in_thread(path: str, body: bytes) -> object:
        return await loop.run_in_executor(threads, digest_bytes, body, NONE)

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as threads:
        yield Way(hash_in_thread, time.thread_time, time.process_time)


@asynccontextmanager
async def process() -> AsyncIterator[Way]:
    async def hash_in_process(path: str, body: bytes) -> object:
        return await hasher.digest(path, NONE, size=len(body))

    def total() -> float:
        return time.process_time() + sum(_cpu_seconds(pid) for pid in hasher.worker_pids)

    async with Hasher(1) as hasher:
        await hasher.digest("/dev/null", NONE)
        yield Way(hash_in_process, time.process_time, total)


def _cpu_seconds(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0]) / 1e9


WAYS = {"inline": inline, "thread": thread, "process": process}


async def measure(way: str, load: str, bodies: Bodies) -> Cost:
    """Hash all bodies; return what one of them cost."""
    async with WAYS[way]() as chosen:
        loop, total = chosen.loop(), chosen.total()
        waiting = iter(bodies)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(IN_FLIGHT[load]):
                tasks.create_task(_hash_next(chosen, waiting))
        loop, total = chosen.loop() - loop, chosen.total() - total
    return Cost(loop * 1e6 / len(bodies), total * 1e6 / len(bodies))


async def _hash_next(way: Way, waiting: Iterator[tuple[str, bytes]]) -> None:
    for path, body in waiting:
        await way.hash(path, body)


def _write_bodies(folder: Path, size: int, count: int) -> Bodies:
    bodies = []
    for number in range(count):
        body = number.to_bytes(4, "big") * (size // 4)
        path = folder / f"{size}-{number}"
        path.write_bytes(body)
        bodies.append((str(path), body))
    return bodies


def _count(size: int) -> int:
    return max(8, min(1000, 64 * 1024 * 1024 // size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("load", IN_FLIGHT)
@pytest.mark.parametrize("way", WAYS)
def bench_digest(benchmark: Any, tmp_path: Path, way: str, load: str, size: int) -> None:
    bodies = _write_bodies(tmp_path, size, 1 if benchmark.disabled else _count(size))
    cost = benchmark.pedantic(
        lambda: uvloop.run(measure(way, load, bodies)), rounds=1 if benchmark.disabled else RUNS
    )
    benchmark.extra_info.update(loop_us=cost.loop, total_us=cost.total)


def main() -> None:
    """Print the curves."""
    columns = [(way, load) for load in IN_FLIGHT for way in WAYS]
    print("µs of CPU a body, loop / total")
    print("KiB".rjust(6), *(f"{way}, {load}".rjust(17) for way, load in columns))
    for size in SIZES:
        with TemporaryDirectory() as folder:
            bodies = _write_bodies(Path(folder), size, _count(size))
            points = [_median_cost(way, load, bodies) for way, load in columns]
        print(f"{size // 1024:6}", *points, flush=True)


def _median_cost(way: str, load: str, bodies: Bodies) -> str:
    costs = [uvloop.run(measure(way, load, bodies)) for _ in range(RUNS)]
    loop, total = (median(values) for values in zip(*costs, strict=True))
    return f"{loop:.0f} / {total:.0f}".rjust(17)


if __name__ == "__main__":
    main()
