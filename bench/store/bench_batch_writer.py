"""Writing batches beside a loop that never rests: why all but the smallest go to a worker process.

The loop turns without a pause, each turn 100 µs of Python and 4 KiB through a socket, while batches
of new blobs of 4 KiB are made durable one after the other, by a thread or by the store's worker.
Left out: what a real loop waits for, which gives a thread more room than here. `python
bench/store/bench_batch_writer.py` prints blobs a second and the share of the time that the loop had
for its turns, by the size of the batches, medians of five runs; with pytest each way is a bench,
with batches of 500.

Caveat: the file system counts as well, see `bench_persist`; nothing that was written is removed
before the end.
"""

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import blake3
import pytest
import uvloop

from flowsync.model.artifact import StagedArtifact
from flowsync.store.local.batch_writer import START_AFTER, BatchWriter
from flowsync.store.local.writer_process import WriteTarget

WAYS: Final = ("thread", "worker")
SIZE: Final = 4096
BATCH: Final = 500
BATCHES: Final = 8
SIZES: Final = (4, 8, 16, 50, 100, BATCH)
TURN: Final = 100e-6
RUNS: Final = 5

_SERIAL: Final = count()


async def measure(
    way: str, folder: Path, batches: Sequence[Sequence[StagedArtifact]]
) -> tuple[float, float]:
    """Write all batches; return the seconds it took and the share of them that the loop had."""
    loop = asyncio.get_running_loop()
    writer = BatchWriter(_site(folder))
    try:
        if way == "worker":
            await writer.persist(_batch(START_AFTER + 1, 1))
            while not writer.worker_pids:  # noqa: ASYNC110 - another process's event
                await asyncio.sleep(0.01)
        writing = asyncio.ensure_future(_write(writer, way, batches))
        turns = 0
        start = time.perf_counter()
        with _connection() as (here, there):
            while not writing.done():
                await loop.sock_sendall(here, bytes(SIZE))
                await loop.sock_recv(there, SIZE)
                _turn()
                turns += 1
        seconds = time.perf_counter() - start
        await writing
    finally:
        await writer.close()
    return seconds, turns * TURN / seconds


async def _write(
    writer: BatchWriter, way: str, batches: Sequence[Sequence[StagedArtifact]]
) -> None:
    for batch in batches:
        if way == "worker":
            assert await writer._persist_elsewhere(batch)
        else:
            await asyncio.to_thread(writer._writer.persist, batch)


@contextmanager
def _connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        yield here, there


def _turn() -> None:
    # A fixed amount of CPU time, not of time: what the thread is kept from doing does not count.
    end = time.thread_time() + TURN
    while time.thread_time() < end:
        pass


def _site(folder: Path) -> WriteTarget:
    own = folder / str(next(_SERIAL))
    for part in ("blake3", "staging/own"):
        (own / part).mkdir(parents=True)
    for number in range(256):
        (own / "blake3" / f"{number:02x}").mkdir()
    return WriteTarget(f"{own}/blake3", f"{own}/staging", f"{own}/staging/own")


def _batch(number: int, size: int) -> list[StagedArtifact]:
    bodies = [os.urandom(8).ljust(size) for _ in range(number)]
    return [
        StagedArtifact(size=len(body), body=body, blake3=blake3.blake3(body).hexdigest())
        for body in bodies
    ]


@pytest.mark.parametrize("way", WAYS)
def bench_batch_writer(benchmark: Any, tmp_path: Path, way: str) -> None:
    batches = [_batch(BATCH, SIZE) for _ in range(1 if benchmark.disabled else BATCHES)]
    rounds = 1 if benchmark.disabled else RUNS
    _, share = benchmark.pedantic(
        lambda: uvloop.run(measure(way, tmp_path, batches)), rounds=rounds
    )
    benchmark.extra_info["loop_share"] = share


def main() -> None:
    """Print the figures."""
    # On the disk of the tree, in a folder that version control does not look at.
    place = Path(".benchmarks")
    place.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=place) as folder:
        for size in SIZES:
            _compare(Path(folder), size)


def _compare(folder: Path, size: int) -> None:
    runs: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(RUNS):
        for way in WAYS:
            batches = [_batch(size, SIZE) for _ in range(BATCHES)]
            runs[way].append(uvloop.run(measure(way, folder, batches)))
    for way in WAYS:
        seconds, share = (median(values) for values in zip(*runs[way], strict=True))
        print(
            f"{size:4} a batch, {way:6} {size * BATCHES / seconds:6.0f} blobs/s, loop {share:.0%}"
        )


if __name__ == "__main__":
    main()
