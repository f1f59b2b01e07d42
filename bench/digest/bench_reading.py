"""How fast one core digests a file, sha256 and BLAKE3 in one pass, from the page cache and from
disk.

"digest_file" is what flowsync does; the other ways are what it was chosen over: advice to the
kernel about reading ahead, and a memory map. "disk" drops a file from the page cache before each
run; on file systems that live in memory it agrees with "cache". `python
bench/digest/bench_reading.py` prints MB/s, medians of seven runs in which the ways alternate; with
pytest each point is a bench.
"""

import hashlib
import mmap
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from blake3 import blake3

from flowsync.digest.hashing import BUFFER_SIZE, digest_file

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs posix_fadvise")

SIZES = tuple(kib * 1024 for kib in (64, 1024, 16 * 1024, 256 * 1024))
RUNS = 7


def advised(path: str, advice: int) -> None:
    sha256, blake, buffer = hashlib.sha256(), blake3(), bytearray(BUFFER_SIZE)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, advice)
        while count := os.readv(descriptor, (buffer,)):
            sha256.update(memoryview(buffer)[:count])
            blake.update(memoryview(buffer)[:count])
    finally:
        os.close(descriptor)


def mapped(path: str) -> None:
    with (
        Path(path).open("rb", buffering=0) as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body,
    ):
        hashlib.sha256(body)
        blake3(body)


WAYS: dict[str, Callable[[str], object]] = {
    "digest_file": partial(digest_file, algorithms=()),
    "SEQUENTIAL": partial(advised, advice=os.POSIX_FADV_SEQUENTIAL),
    "WILLNEED": partial(advised, advice=os.POSIX_FADV_WILLNEED),
    "mapped": mapped,
}


def _write_file(folder: Path, size: int) -> str:
    path = folder / str(size)
    with path.open("wb") as file:
        for _ in range(size // 65536):
            file.write(os.urandom(65536))
        file.flush()
        os.fsync(file.fileno())
    return str(path)


def _forget(path: str) -> None:
    """Drop a file from the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


@pytest.mark.parametrize("place", ["cache", "disk"])
@pytest.mark.parametrize("way", WAYS)
def bench_reading(benchmark: Any, tmp_path: Path, way: str, place: str) -> None:
    path = _write_file(tmp_path, SIZES[0] if benchmark.disabled else SIZES[-1])
    prepare = partial(_forget, path) if place == "disk" else None
    benchmark.pedantic(
        WAYS[way], args=(path,), setup=prepare, rounds=1 if benchmark.disabled else RUNS
    )


def main() -> None:
    """Print the figures."""
    print("MB/s".rjust(12), *(way.rjust(12) for way in WAYS))
    with TemporaryDirectory() as folder:
        for size in SIZES:
            path = _write_file(Path(folder), size)
            for place in ("cache", "disk"):
                speeds = (f"{size / 1e6 / seconds:12.0f}" for seconds in _medians(path, place))
                print(f"{size // 1024} KiB {place}".rjust(12), *speeds, flush=True)


def _medians(path: str, place: str) -> list[float]:
    """Return the seconds that each way takes."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(RUNS):
        for way, read in WAYS.items():
            if place == "disk":
                _forget(path)
            start = time.perf_counter()
            read(path)
            seconds[way].append(time.perf_counter() - start)
    return [median(runs) for runs in seconds.values()]


if __name__ == "__main__":
    main()
