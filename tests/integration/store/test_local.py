import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flowsync.errors import StoreError, StoreUnwritableError
from flowsync.store import BlobStore, LocalBlobStore, StoreUsage
from flowsync.testing.blob_store_contract import BlobStoreContract
from flowsync.testing.bodies import HELLO, HELLO_NAME, as_file, in_memory, name_of, read
from tests.mounts import mounted

LIVING = """
import asyncio, sys
from pathlib import Path
from flowsync.store import LocalBlobStore

async def main():
    async with LocalBlobStore(Path(sys.argv[1])) as store, store.staging() as folder:
        print(folder, flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


@pytest.fixture
async def store(tmp_path):
    async with LocalBlobStore(tmp_path) as store:
        yield store


@pytest.fixture
def neighbour(tmp_path):
    """Another process that has the store open; it ends when its standard input is closed."""
    command = [sys.executable, "-c", LIVING, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


class TestLocalBlobStore(BlobStoreContract):
    @pytest.fixture
    async def store(self, tmp_path):
        async with LocalBlobStore(tmp_path) as store:
            yield store

    async def damage(self, store: BlobStore, name: str, body: bytes) -> None:
        path = Path(str(store.local(name)))
        path.unlink()
        path.write_bytes(body)


async def test_blobs_stand_in_folders_by_their_first_two_digits(store, tmp_path):
    await store.persist([in_memory(HELLO)])

    assert (tmp_path / "blake3" / "ea" / HELLO_NAME).read_bytes() == HELLO
    assert store.local(HELLO_NAME) == str(tmp_path / "blake3" / "ea" / HELLO_NAME)


async def test_blobs_are_read_only_whatever_the_umask(store):
    before = os.umask(0o077)
    try:
        async with store.staging() as folder:
            await store.persist([in_memory(HELLO), as_file(folder, b"other")])
    finally:
        os.umask(before)

    modes = [os.stat(store.local(name)).st_mode for name in (HELLO_NAME, name_of(b"other"))]
    assert [stat.S_IMODE(mode) for mode in modes] == [0o444, 0o444]


async def test_a_staged_file_is_moved_not_copied(store):
    async with store.staging() as folder:
        artifact = as_file(folder, HELLO)
        inode = os.stat(str(artifact.file)).st_ino
        await store.persist([artifact])

    assert os.stat(store.local(HELLO_NAME)).st_ino == inode


async def test_a_blob_that_is_right_keeps_its_inode(store):
    await store.persist([in_memory(HELLO)])
    inode = os.stat(store.local(HELLO_NAME)).st_ino

    await store.persist([in_memory(HELLO)])

    assert os.stat(store.local(HELLO_NAME)).st_ino == inode


async def test_a_damaged_blob_that_is_open_is_not_written_over(store):
    await store.persist([in_memory(HELLO)])
    path = Path(store.local(HELLO_NAME))
    path.chmod(0o644)
    path.write_bytes(b"jello")

    with path.open("rb") as reader:
        await store.persist([in_memory(HELLO)])
        assert reader.read() == b"jello"

    assert path.read_bytes() == HELLO


async def test_a_staged_file_that_vanished_is_named(store):
    async with store.staging() as folder:
        artifact = as_file(folder, HELLO)
        os.unlink(str(artifact.file))

        with pytest.raises(StoreError, match=f"No such file or directory: {artifact.file}"):
            await store.persist([artifact])


async def test_a_fan_out_folder_that_someone_removed_is_made_again(store):
    await store.persist([in_memory(HELLO)])
    os.unlink(store.local(HELLO_NAME))
    os.rmdir(os.path.dirname(store.local(HELLO_NAME)))

    await store.persist([in_memory(HELLO)])

    assert Path(store.local(HELLO_NAME)).read_bytes() == HELLO


async def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnwritableError, match=f"opening the store in {tmp_path}/file/store"):
        async with LocalBlobStore(tmp_path / "file" / "store"):
            pass


async def test_a_store_that_is_not_open_persists_nothing(tmp_path):
    store = LocalBlobStore(tmp_path)

    with pytest.raises(StoreError, match=f"the store in {tmp_path} is not open"):
        await store.persist([in_memory(HELLO)])


async def test_a_relative_root_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with LocalBlobStore(Path("store")) as store:
        monkeypatch.chdir("/")
        await store.persist([in_memory(HELLO)])

    assert (tmp_path / "store" / "blake3" / "ea" / HELLO_NAME).exists()


async def test_closing_leaves_nothing_in_staging(tmp_path):
    async with LocalBlobStore(tmp_path) as store:
        await store.persist([in_memory(HELLO)])

    assert os.listdir(tmp_path / "staging") == []


async def test_opening_removes_the_staging_of_the_dead_and_never_that_of_the_living(
    neighbour, tmp_path
):
    living = neighbour.stdout.readline().strip()

    async with LocalBlobStore(tmp_path):
        assert os.path.isdir(living)
    neighbour.kill()
    neighbour.wait()
    assert os.path.isdir(living)
    async with LocalBlobStore(tmp_path):
        assert not os.path.exists(living)

    assert os.listdir(tmp_path / "staging") == []


async def test_two_processes_share_a_store(neighbour, tmp_path):
    neighbour.stdout.readline()
    async with LocalBlobStore(tmp_path) as store:
        await store.persist([in_memory(HELLO)])
        neighbour.stdin.close()
        assert neighbour.wait() == 0

        assert await store.usage() == StoreUsage(blobs=1, bytes=5)


async def test_folders_of_a_store_may_lie_on_two_file_systems(tmp_path: Path) -> None:
    """Mounts, and quotas of projects, keep a rename from going from one to the other."""
    with mounted(tmp_path / "staging", "-t", "tmpfs", "none"):
        async with LocalBlobStore(tmp_path) as store, store.staging() as folder:
            await store.persist([in_memory(b"in memory"), as_file(folder, b"as a file")])

            for body in (b"in memory", b"as a file"):
                assert await read(store, name_of(body)) == body
            assert os.listdir(folder) == []
        beside = [path.name for path in tmp_path.glob("blake3/*/*")]
    assert sorted(beside) == sorted(map(name_of, (b"in memory", b"as a file")))
