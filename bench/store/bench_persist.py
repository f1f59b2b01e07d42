"""Bench of the durable writing of batches: 1, 50 and 500 new blobs of 4 KiB, by each way to make
them durable.

Scenarios: the barrier before the renames, the barrier after them, both beside a process that writes
400 MB/s to the same file system, and a whole batch from bodies in memory to blobs. The fan-out
folders exist. Left out: the way through the event loop, bodies that were staged as files.

Caveats: what the ways cost is up to the file system, so run it on the disk in question
(`--basetemp`); a tmpfs shows nothing. ext4 does not reuse inodes that were freed in the last half
minute, and searching past many of them can cost more than all the rest of a whole batch.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import blake3
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from flowsync.model.artifact import StagedArtifact
from flowsync.store import kernel
from flowsync.store.durability import Barrier, barrier, flush
from flowsync.store.local.shelves import Shelves
from flowsync.store.local.writer import Writer

SIZE = 4096
ROUNDS = {1: 40, 50: 20, 500: 8}

NEIGHBOUR = """
import os, sys, time
block, start, done = os.urandom(1 << 20), time.monotonic(), 0
with open(sys.argv[1], "wb", buffering=0) as file:
    while True:
        os.pwrite(file.fileno(), block, done % (256 << 20))
        done += len(block)
        if done == 32 << 20:
            print("writing", flush=True)
        time.sleep(max(0, done / 400e6 - (time.monotonic() - start)))
"""


class Threads:
    """fsync of each file and folder, from 16 threads."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def files(self, written: Iterable[str], staged: Iterable[str]) -> None:
        self.folders([*written, *staged])

    def folders(self, folders: Iterable[str]) -> None:
        list(self._pool.map(flush, folders))


class Ranges:
    """sync_file_range of all files, started together, then fdatasync of each; fsync of the
    folders.
    """

    def files(self, written: Iterable[str], staged: Iterable[str]) -> None:
        whole, start_writing = ctypes.c_int64(0), ctypes.c_uint(2)
        descriptors = [os.open(path, os.O_RDONLY) for path in (*written, *staged)]
        for fd in descriptors:
            kernel._call("sync_file_range", ctypes.c_int(fd), whole, whole, start_writing)
        for fd in descriptors:
            kernel.wait_written(fd)
        for fd in descriptors:
            os.fdatasync(fd)
            os.close(fd)

    def folders(self, folders: Iterable[str]) -> None:
        for folder in folders:
            flush(folder)


class Site:
    """A store's folders, and a number for the next file."""

    def __init__(self, folder: Path) -> None:
        self.shelves = Shelves(str(folder / "blake3"))
        self.scratch = str(folder / "staging" / "one")
        self._serial = count()
        os.makedirs(self.scratch)
        os.makedirs(self.shelves.root)

    def make_folders(self) -> None:
        for first in range(256):
            os.mkdir(self.shelves.folder(f"{first:02x}"))

    def write(self, blobs: int) -> list[str]:
        paths = [f"{self.scratch}/{next(self._serial)}" for _ in range(blobs)]
        for path in paths:
            with open(path, "xb", buffering=0) as file:
                file.write(os.urandom(SIZE))
        return paths

    def place(self, paths: list[str]) -> set[str]:
        names = [os.urandom(32).hex() for _ in paths]
        for path, name in zip(paths, names, strict=True):
            self.shelves.place(path, name)
        return {self.shelves.folder(name) for name in names}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(params=["syncfs", "fsync", "threads", "ranges"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Barrier]:
    with ExitStack() as held:
        if request.param == "threads":
            yield Threads(held.enter_context(ThreadPoolExecutor(16)))
        elif request.param == "ranges":
            yield Ranges()
        else:
            whole = request.param == "syncfs"
            yield held.enter_context(barrier(str(tmp_path), whole=whole))


@pytest.fixture
def neighbour(tmp_path: Path) -> Iterator[None]:
    command = [sys.executable, "-c", NEIGHBOUR, str(tmp_path / "neighbour")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.kill()


@pytest.mark.parametrize("blobs", [1, 50, 500])
def bench_files(benchmark: BenchmarkFixture, site: Site, way: Barrier, blobs: int) -> None:
    """Measure the barrier before the renames."""
    size = _size(benchmark, blobs)
    benchmark.pedantic(way.files, setup=lambda: ((site.write(size), ()), {}), rounds=ROUNDS[blobs])


@pytest.mark.parametrize("blobs", [1, 50, 500])
def bench_folders(benchmark: BenchmarkFixture, site: Site, way: Barrier, blobs: int) -> None:
    """Measure the barrier after the renames."""

    def placed() -> tuple[tuple[set[str]], dict[str, object]]:
        paths = site.write(_size(benchmark, blobs))
        way.files(paths, ())
        return (site.place(paths),), {}

    benchmark.pedantic(way.folders, setup=placed, rounds=ROUNDS[blobs])


@pytest.mark.usefixtures("neighbour")
def bench_barriers_beside_a_writer(benchmark: BenchmarkFixture, site: Site, way: Barrier) -> None:
    """Measure both barriers of 500 blobs, and the renames between them, while another process
    writes to the same file system.
    """

    def pass_both(paths: list[str]) -> None:
        way.files(paths, ())
        way.folders(site.place(paths))

    benchmark.pedantic(
        pass_both, setup=lambda: ((site.write(_size(benchmark, 500)),), {}), rounds=ROUNDS[500]
    )


@pytest.mark.parametrize("whole", [True, False], ids=["syncfs", "fsync"])
@pytest.mark.parametrize("blobs", [1, 50, 500])
def bench_persist(benchmark: BenchmarkFixture, site: Site, blobs: int, whole: bool) -> None:
    """Measure a whole batch."""
    if not benchmark.disabled:
        site.make_folders()
    writer = Writer(
        site.shelves,
        staging=os.path.dirname(site.scratch),
        scratch=site.scratch,
        open_barrier=lambda files: barrier(site.scratch, whole=whole),
    )

    def artifacts() -> tuple[tuple[list[StagedArtifact]], dict[str, object]]:
        bodies = [os.urandom(SIZE) for _ in range(_size(benchmark, blobs))]
        return ([_staged(body) for body in bodies],), {}

    benchmark.pedantic(writer.persist, setup=artifacts, rounds=ROUNDS[blobs])


def _size(benchmark: BenchmarkFixture, blobs: int) -> int:
    """Return the size of a batch; ten at most where the bench is run once as a test of itself."""
    return min(blobs, 10) if benchmark.disabled else blobs


def _staged(body: bytes) -> StagedArtifact:
    return StagedArtifact(body=body, size=SIZE, blake3=blake3.blake3(body).hexdigest())
