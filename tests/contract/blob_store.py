"""What every blob store does. The test file of an adapter subclasses `BlobStoreContract`, gives
`store`, and says how to damage a blob.

class TestLocalBlobStore(BlobStoreContract):
    @pytest.fixture
    async def store(self, tmp_path):
        async with LocalBlobStore(tmp_path) as store:
            yield store

    async def damage(self, store, name, body):
        ...
"""

import asyncio
import os
from pathlib import Path

import blake3
import pytest

from flowsync.errors import BlobMissingError, StoreError
from flowsync.model.artifact import StagedArtifact
from flowsync.store import BlobStore, StoreUsage

HELLO = b"hello"
HELLO_NAME = "ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f"
EMPTY_NAME = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
NOWHERE_NAME = "0" * 64


def name_of(body: bytes) -> str:
    return blake3.blake3(body).hexdigest()


def in_memory(body: bytes) -> StagedArtifact:
    return StagedArtifact(body=body, size=len(body), blake3=name_of(body))


def as_file(folder: str, body: bytes) -> StagedArtifact:
    path = Path(folder) / os.urandom(8).hex()
    path.write_bytes(body)
    return StagedArtifact(file=str(path), size=len(body), blake3=name_of(body))


def read(store: BlobStore, name: str) -> bytes:
    with store.open(name) as blob:
        return blob.read()


class BlobStoreContract:
    """Tests of one adapter. They reach round it only through `damage`."""

    @pytest.fixture
    def store(self) -> BlobStore:
        raise NotImplementedError

    async def damage(self, store: BlobStore, name: str, body: bytes) -> None:
        """Replace the bytes of a blob behind the store's back."""
        raise NotImplementedError

    async def test_a_body_in_memory_can_be_read_back_under_its_name(self, store: BlobStore):
        await store.persist([in_memory(HELLO)])

        assert read(store, HELLO_NAME) == HELLO

    async def test_a_staged_file_becomes_the_blob(self, store: BlobStore):
        async with store.staging() as folder:
            artifact = as_file(folder, HELLO)
            await store.persist([artifact])
            assert os.listdir(folder) == []

        assert read(store, HELLO_NAME) == HELLO

    async def test_an_empty_body_is_a_blob_like_any_other(self, store: BlobStore):
        await store.persist([in_memory(b"")])

        assert read(store, EMPTY_NAME) == b""
        assert await store.missing([EMPTY_NAME]) == set()

    async def test_an_empty_batch_changes_nothing(self, store: BlobStore):
        await store.persist([])

        assert await store.usage() == StoreUsage(blobs=0, bytes=0)

    @pytest.mark.parametrize("count", [1, 7, 8, 300])
    async def test_a_batch_of_bodies_and_files_is_stored_whole(self, store: BlobStore, count: int):
        bodies = [f"body {number}".encode() * number for number in range(count)]
        async with store.staging() as folder:
            batch = [
                as_file(folder, body) if number % 3 == 0 else in_memory(body)
                for number, body in enumerate(bodies)
            ]
            await store.persist(batch)

        assert [read(store, name_of(body)) for body in bodies] == bodies

    async def test_duplicates_in_a_batch_are_one_blob(self, store: BlobStore):
        async with store.staging() as folder:
            twice = as_file(folder, HELLO)
            await store.persist([twice, in_memory(HELLO), twice, as_file(folder, HELLO)])
            assert os.listdir(folder) == []

        assert await store.usage() == StoreUsage(blobs=1, bytes=5)

    async def test_a_blob_that_is_there_is_kept_and_the_staged_file_removed(self, store: BlobStore):
        await store.persist([in_memory(HELLO)])
        async with store.staging() as folder:
            await store.persist([as_file(folder, HELLO)])
            assert os.listdir(folder) == []

        assert read(store, HELLO_NAME) == HELLO
        assert await store.usage() == StoreUsage(blobs=1, bytes=5)

    @pytest.mark.parametrize("found", [b"jello", b"hell", b"", b"hello and more"])
    async def test_a_damaged_blob_is_replaced(self, store: BlobStore, found: bytes):
        await store.persist([in_memory(HELLO)])
        await self.damage(store, HELLO_NAME, found)

        await store.persist([in_memory(HELLO)])

        assert read(store, HELLO_NAME) == HELLO

    async def test_a_batch_can_be_persisted_again_as_it_was(self, store: BlobStore):
        async with store.staging() as folder:
            batch = [as_file(folder, HELLO), in_memory(b"other")]
            await store.persist(batch)
            await store.persist(batch)

        assert await store.usage() == StoreUsage(blobs=2, bytes=10)

    async def test_the_same_blobs_can_be_persisted_at_once(self, store: BlobStore):
        bodies = [f"body {number}".encode() for number in range(50)]

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(store.persist([in_memory(body) for body in bodies]))

        assert [read(store, name_of(body)) for body in bodies] == bodies

    async def test_names_without_a_blob_are_missing(self, store: BlobStore):
        await store.persist([in_memory(HELLO)])

        assert await store.missing([HELLO_NAME, NOWHERE_NAME]) == {NOWHERE_NAME}
        assert await store.missing([]) == set()

    async def test_opening_a_blob_that_is_not_there_says_which(self, store: BlobStore):
        with pytest.raises(BlobMissingError, match=NOWHERE_NAME):
            store.open(NOWHERE_NAME)

    async def test_usage_counts_blobs_and_bytes(self, store: BlobStore):
        await store.persist([in_memory(b"one"), in_memory(b"three")])

        assert await store.usage() == StoreUsage(blobs=2, bytes=8)

    async def test_what_waits_in_staging_is_no_blob(self, store: BlobStore):
        async with store.staging() as folder:
            as_file(folder, HELLO)

            assert await store.usage() == StoreUsage(blobs=0, bytes=0)
            assert await store.missing([HELLO_NAME]) == {HELLO_NAME}

    async def test_two_runs_have_different_staging_folders(self, store: BlobStore):
        async with store.staging() as one, store.staging() as other:
            assert one != other
            assert os.path.isdir(one)
            assert os.path.isdir(other)

    async def test_a_staging_folder_goes_with_all_that_is_in_it(self, store: BlobStore):
        async with store.staging() as folder:
            os.makedirs(f"{folder}/some/where")
            as_file(folder, HELLO)

        assert not os.path.exists(folder)

    async def test_a_staging_folder_goes_when_its_run_fails(self, store: BlobStore):
        folders = []

        async def fail() -> None:
            async with store.staging() as folder:
                folders.append(folder)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert [os.path.exists(folder) for folder in folders] == [False]

    async def test_an_artifact_without_bytes_is_refused(self, store: BlobStore):
        with pytest.raises(StoreError, match="no bytes at hand"):
            await store.persist([StagedArtifact(size=5, blake3=HELLO_NAME)])

    async def test_an_artifact_without_a_name_is_refused(self, store: BlobStore):
        with pytest.raises(StoreError, match="BLAKE3 is not known"):
            await store.persist([StagedArtifact(body=HELLO, size=5)])

    async def test_states_tell_what_stands_under_a_name(self, store: BlobStore):
        await store.persist([in_memory(HELLO)])

        present, absent = await store.states([HELLO_NAME, NOWHERE_NAME])
        (again,) = await store.states([HELLO_NAME])
        await self.damage(store, HELLO_NAME, b"longer than hello")
        (damaged,) = await store.states([HELLO_NAME])

        assert absent is None
        assert present is not None
        assert damaged is not None
        assert (present.size, damaged.size) == (5, 17)
        assert present == again
        assert present.identity != damaged.identity

    async def test_names_come_in_batches_each_once(self, store: BlobStore):
        bodies = [str(number).encode() for number in range(25)]
        await store.persist([in_memory(body) for body in bodies])

        batches = [batch async for batch in store.names(10)]

        assert [len(batch) for batch in batches] == [10, 10, 5]
        assert sorted(name for batch in batches for name in batch) == sorted(map(name_of, bodies))

    async def test_a_removed_blob_is_gone_and_can_be_stored_again(self, store: BlobStore):
        await store.persist([in_memory(HELLO), in_memory(b"stays")])

        async with store.removing():
            await store.remove([HELLO_NAME, NOWHERE_NAME])

        assert await store.missing([HELLO_NAME, name_of(b"stays")]) == {HELLO_NAME}
        await store.persist([in_memory(HELLO)])
        assert read(store, HELLO_NAME) == HELLO

    async def test_a_quarantined_blob_is_missing_until_it_is_stored_again(self, store: BlobStore):
        await store.persist([in_memory(HELLO)])
        await self.damage(store, HELLO_NAME, b"jello")

        for _ in range(2):
            async with store.removing():
                await store.quarantine([HELLO_NAME, NOWHERE_NAME])

        assert await store.missing([HELLO_NAME]) == {HELLO_NAME}
        assert [batch async for batch in store.names(10)] == []
        await store.persist([in_memory(HELLO)])
        await store.release([HELLO_NAME, NOWHERE_NAME])
        assert read(store, HELLO_NAME) == HELLO

    async def test_many_store_at_once_and_whoever_removes_is_alone(self, store: BlobStore):
        inside: set[str] = set()
        together = 0

        async def store_some(name: str) -> None:
            nonlocal together
            for _ in range(5):
                async with store.storing():
                    assert "remover" not in inside
                    inside.add(name)
                    together = max(together, len(inside))
                    await store.persist([in_memory(name.encode())])
                    inside.remove(name)

        async def remove_some() -> None:
            for _ in range(5):
                async with store.removing():
                    assert inside == set()
                    inside.add("remover")
                    await store.remove([NOWHERE_NAME])
                    inside.remove("remover")

        async with asyncio.TaskGroup() as group:
            for name in ("one", "two", "three"):
                group.create_task(store_some(name))
            for _ in range(2):
                group.create_task(remove_some())

        assert together > 1

    async def test_whoever_removes_gets_his_turn_although_others_never_stop_storing(
        self, store: BlobStore
    ):
        removed = asyncio.Event()

        async def store_on(delay: int) -> None:
            while not removed.is_set():
                async with store.storing():
                    for _ in range(delay):
                        await store.persist([in_memory(b"%d" % delay)])

        async def remove_once() -> None:
            async with store.removing():
                removed.set()

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for delay in (2, 3, 5):
                group.create_task(store_on(delay))
            group.create_task(remove_once())

    async def test_whoever_gives_up_waiting_keeps_nobody_out(self, store: BlobStore):
        async with store.storing():
            waiting = asyncio.create_task(_enter(store))
            await asyncio.wait([waiting], timeout=0.05)
            waiting.cancel()
            await asyncio.wait([waiting])
            async with asyncio.timeout(10), store.storing():
                pass

        async with asyncio.timeout(10), store.removing():
            pass
        assert waiting.cancelled()


async def _enter(store: BlobStore) -> None:
    async with store.removing():
        pass
