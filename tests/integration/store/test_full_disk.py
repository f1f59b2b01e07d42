"""Disks that are full, limited, read-only, or fail while they write back; real ones, mounted for
the test.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowsync.errors import StoreError, StoreFullError, StoreUnwritableError
from flowsync.model.artifact import StagedArtifact
from flowsync.store import LocalBlobStore, StoreUsage, kernel
from flowsync.store.durability import trusts_syncfs
from flowsync.testing.bodies import HELLO, as_file, in_memory
from tests.mounts import mounted

LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from flowsync.errors import StoreFullError
from flowsync.store import LocalBlobStore
from flowsync.testing.blob_store_contract import in_memory

async def main():
    async with LocalBlobStore(Path(sys.argv[1])) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            await store.persist([in_memory(b"fits"), in_memory(bytes(4097))])
        except StoreFullError as error:
            print(error, await store.usage())

asyncio.run(main())
"""


@pytest.fixture
def small_disk(tmp_path):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=1m", "none") as folder:
        yield folder


@pytest.fixture
def failing_disk(tmp_path):
    """An ext4 of 64 MiB on an image of which only some can be written: write-backs fail when the
    writers are long gone.
    """
    with mounted(tmp_path / "beneath", "-t", "tmpfs", "-o", "size=2m", "none") as beneath:
        image = beneath / "image"
        with image.open("xb") as file:
            file.truncate(64 << 20)
        make = ["mkfs.ext4", "-q", "-O", "^has_journal", str(image)]
        if subprocess.run(make, capture_output=True, check=False).returncode != 0:
            pytest.skip("no ext4 can be made here")
        with mounted(tmp_path / "failing", "-o", "loop", str(image)) as folder:
            if not trusts_syncfs(str(folder)):
                pytest.skip("this kernel does not report failed write-backs")
            yield folder


def names(batch: list[StagedArtifact]) -> list[str]:
    return [str(artifact.blake3) for artifact in batch]


async def test_a_full_disk_stores_nothing_of_the_batch_and_leaves_nothing_behind(small_disk):
    async with LocalBlobStore(small_disk) as store:
        await store.persist([in_memory(HELLO)])
        batch = [in_memory(os.urandom(64 << 10)) for _ in range(40)]

        with pytest.raises(
            StoreFullError, match=r"storing 40 blobs in .*: No space left on device"
        ):
            await store.persist(batch)

        assert await store.usage() == StoreUsage(blobs=1, bytes=5)
        assert await store.missing(names(batch)) == set(names(batch))
        await store.persist(batch[:4])
        assert await store.usage() == StoreUsage(blobs=5, bytes=5 + 4 * (64 << 10))


async def test_the_batch_goes_through_once_there_is_room(small_disk):
    async with LocalBlobStore(small_disk) as store:
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(900 << 10))
        batch = [in_memory(os.urandom(64 << 10)) for _ in range(4)]
        with pytest.raises(StoreFullError):
            await store.persist(batch)

        ballast.unlink()
        await store.persist(batch)

        assert await store.missing(names(batch)) == set()


async def test_a_store_on_a_read_only_disk_is_unwritable(tmp_path):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "ro", "none") as disk:
        with pytest.raises(StoreUnwritableError, match=f"{disk}/store: Read-only file system"):
            async with LocalBlobStore(disk / "store"):
                pass


async def test_a_write_back_that_fails_is_an_error_of_the_batch(failing_disk):
    async with LocalBlobStore(failing_disk) as store:
        batch = [in_memory(os.urandom(1 << 20)) for _ in range(10)]

        with pytest.raises(StoreError, match="storing 10 blobs in"):
            await store.persist(batch)

        assert await store.usage() == StoreUsage(blobs=0, bytes=0)


async def test_a_staged_file_whose_write_back_failed_is_not_stored_although_someone_else_was_told(
    failing_disk,
):
    async with LocalBlobStore(failing_disk) as store, store.staging() as folder:
        batch = [as_file(folder, os.urandom(1 << 20)) for _ in range(10)]
        someone_else = os.open(failing_disk, os.O_RDONLY)
        with pytest.raises(OSError, match="syncfs"):
            kernel.syncfs(someone_else)
        os.close(someone_else)

        with pytest.raises(StoreError, match="storing 10 blobs in"):
            await store.persist(batch)

        assert await store.usage() == StoreUsage(blobs=0, bytes=0)


def test_a_limit_on_the_size_of_files_counts_as_full(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "File too large" in done.stdout
    assert "StoreUsage(blobs=0, bytes=0)" in done.stdout
