"""Bench of the durable writing of whole batches, from bodies in memory to blobs: 1, 50 and 500 new
blobs of 4 KiB.

The fan-out folders exist. Left out: the way through the event loop, bodies that were staged as
files. What a batch costs is up to the file system, so run it on the disk in question
(`--basetemp`); a tmpfs shows nothing. ext4 does not reuse inodes that were freed in the last half
minute, and searching past many of them can cost more than all the rest.
"""

import os
from pathlib import Path

import blake3
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from flowsync.model.artifact import StagedArtifact
from flowsync.store.durability import barrier
from flowsync.store.local.shelves import Shelves
from flowsync.store.local.writer import Writer

SIZE = 4096
ROUNDS = {1: 40, 50: 20, 500: 8}


@pytest.mark.parametrize("whole", [True, False], ids=["syncfs", "fsync"])
@pytest.mark.parametrize("blobs", [1, 50, 500])
def bench_persist(benchmark: BenchmarkFixture, tmp_path: Path, blobs: int, whole: bool) -> None:
    shelves = Shelves(str(tmp_path / "blake3"))
    scratch = tmp_path / "staging" / "one"
    scratch.mkdir(parents=True)
    os.makedirs(shelves.root)
    for first in range(0 if benchmark.disabled else 256):
        os.mkdir(shelves.folder(f"{first:02x}"))
    writer = Writer(
        shelves,
        staging=str(scratch.parent),
        scratch=str(scratch),
        open_barrier=lambda _: barrier(str(scratch), whole=whole),
    )
    size = min(blobs, 10) if benchmark.disabled else blobs

    def artifacts() -> tuple[tuple[list[StagedArtifact]], dict[str, object]]:
        return ([staged(os.urandom(SIZE)) for _ in range(size)],), {}

    benchmark.pedantic(writer.persist, setup=artifacts, rounds=ROUNDS[blobs])


def staged(body: bytes) -> StagedArtifact:
    return StagedArtifact(body=body, size=SIZE, blake3=blake3.blake3(body).hexdigest())
