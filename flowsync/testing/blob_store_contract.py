"""What every blob store does, as tests.

The test file of an adapter subclasses `BlobStoreContract`, gives the fixture `store`, which is an
open store without blobs, and says in `damage` how to replace the bytes of a blob:
`tests/integration/store/test_memory_store.py` is one. It needs pytest, and pytest-asyncio in the
mode "auto". Failures show what was found when a conftest.py of the project says
`pytest.register_assert_rewrite("flowsync.testing")`.
"""

import asyncio
import os
from pathlib import Path
from uuid import uuid4

import pytest

from flowsync.errors import BlobMissingError, StoreError
from flowsync.model.artifact import StagedArtifact
from flowsync.store import BlobStore, StoreUsage
from flowsync.store.port import LARGEST_CHUNK
from flowsync.store.staging import bring, has_local_files
from flowsync.testing.blob_upkeep_contract import BlobUpkeepContract
from flowsync.testing.bodies import (
    EMPTY_NAME,
    HELLO,
    HELLO_NAME,
    NOWHERE_NAME,
    as_file,
    in_memory,
    name_of,
    read,
)


class BlobStoreContract(BlobUpkeepContract):
    """Tests of one adapter: what is stored can be read, whatever the store is."""

    async def test_a_body_in_memory_can_be_read_back_under_its_name(self, store: BlobStore) -> None:
        await store.persist([in_memory(HELLO)])

        assert await read(store, HELLO_NAME) == HELLO

    async def test_a_staged_file_becomes_the_blob(self, store: BlobStore) -> None:
        async with store.staging() as folder:
            artifact = as_file(folder, HELLO)
            await store.persist([artifact])
            assert os.listdir(folder) == []

        assert await read(store, HELLO_NAME) == HELLO

    async def test_an_empty_body_is_a_blob_like_any_other(self, store: BlobStore) -> None:
        await store.persist([in_memory(b"")])

        assert await read(store, EMPTY_NAME) == b""
        assert await store.missing([EMPTY_NAME]) == set()

    async def test_an_empty_batch_changes_nothing(self, store: BlobStore) -> None:
        await store.persist([])

        assert await store.usage() == StoreUsage(blobs=0, bytes=0)

    @pytest.mark.parametrize("count", [1, 7, 8, 300])
    async def test_a_batch_of_bodies_and_files_is_stored_whole(
        self, store: BlobStore, count: int
    ) -> None:
        bodies = [f"body {number}".encode() * number for number in range(count)]
        async with store.staging() as folder:
            batch = [
                as_file(folder, body) if number % 3 == 0 else in_memory(body)
                for number, body in enumerate(bodies)
            ]
            await store.persist(batch)

        assert [await read(store, name_of(body)) for body in bodies] == bodies

    async def test_duplicates_in_a_batch_are_one_blob(self, store: BlobStore) -> None:
        async with store.staging() as folder:
            twice = as_file(folder, HELLO)
            await store.persist([twice, in_memory(HELLO), twice, as_file(folder, HELLO)])
            assert os.listdir(folder) == []

        assert await store.usage() == StoreUsage(blobs=1, bytes=5)

    async def test_a_blob_that_is_there_is_kept_and_the_staged_file_removed(
        self, store: BlobStore
    ) -> None:
        await store.persist([in_memory(HELLO)])
        async with store.staging() as folder:
            await store.persist([as_file(folder, HELLO)])
            assert os.listdir(folder) == []

        assert await read(store, HELLO_NAME) == HELLO
        assert await store.usage() == StoreUsage(blobs=1, bytes=5)

    @pytest.mark.parametrize("found", [b"jello", b"hell", b"", b"hello and more"])
    async def test_a_damaged_blob_is_replaced(self, store: BlobStore, found: bytes) -> None:
        await store.persist([in_memory(HELLO)])
        await self.damage(store, HELLO_NAME, found)

        await store.persist([in_memory(HELLO)])

        assert await read(store, HELLO_NAME) == HELLO

    async def test_a_batch_can_be_persisted_again_as_it_was(self, store: BlobStore) -> None:
        async with store.staging() as folder:
            batch = [as_file(folder, HELLO), in_memory(b"other")]
            await store.persist(batch)
            await store.persist(batch)

        assert await store.usage() == StoreUsage(blobs=2, bytes=10)

    async def test_the_same_blobs_can_be_persisted_at_once(self, store: BlobStore) -> None:
        bodies = [f"body {number}".encode() for number in range(50)]

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(store.persist([in_memory(body) for body in bodies]))

        assert [await read(store, name_of(body)) for body in bodies] == bodies

    async def test_names_without_a_blob_are_missing(self, store: BlobStore) -> None:
        await store.persist([in_memory(HELLO)])

        assert await store.missing([HELLO_NAME, NOWHERE_NAME]) == {NOWHERE_NAME}
        assert await store.missing([]) == set()

    async def test_reading_a_blob_that_is_not_there_says_which(self, store: BlobStore) -> None:
        with pytest.raises(BlobMissingError, match=NOWHERE_NAME):
            await read(store, NOWHERE_NAME)

    @pytest.mark.parametrize(
        ("start", "stop", "expected"),
        [
            (0, None, HELLO),
            (0, 5, HELLO),
            (1, 3, b"el"),
            (4, None, b"o"),
            (2, 99, b"llo"),
            (5, None, b""),
            (7, 9, b""),
            (3, 3, b""),
        ],
    )
    async def test_a_part_of_a_blob_is_read_up_to_its_end(
        self, store: BlobStore, start: int, stop: int | None, expected: bytes
    ) -> None:
        await store.persist([in_memory(HELLO)])

        assert await read(store, HELLO_NAME, start, stop) == expected

    async def test_a_reader_knows_the_size_of_the_whole_blob_as_it_stands(
        self, store: BlobStore
    ) -> None:
        await store.persist([in_memory(HELLO)])
        async with store.reading(HELLO_NAME, 1, 2) as reader:
            before = reader.size
        await self.damage(store, HELLO_NAME, b"longer than hello")
        async with store.reading(HELLO_NAME, 1, 2) as reader:
            after = reader.size

        assert (before, after) == (5, 17)

    async def test_a_large_blob_comes_in_chunks_none_of_which_is_large(
        self, store: BlobStore
    ) -> None:
        body = os.urandom(3 * LARGEST_CHUNK + 1)
        await store.persist([in_memory(body)])

        async with store.reading(name_of(body)) as reader:
            chunks = [chunk async for chunk in reader.chunks]

        assert b"".join(chunks) == body
        assert 0 < max(map(len, chunks)) <= LARGEST_CHUNK
        middle = slice(LARGEST_CHUNK - 1, 2 * LARGEST_CHUNK + 1)
        assert await read(store, name_of(body), middle.start, middle.stop) == body[middle]

    async def test_a_reader_may_leave_before_the_end(self, store: BlobStore) -> None:
        body = os.urandom(2 * LARGEST_CHUNK)
        await store.persist([in_memory(body)])

        async with store.reading(name_of(body)) as reader:
            first = await anext(reader.chunks)
        async with store.reading(name_of(body)):
            pass

        assert body.startswith(first)

    async def test_many_read_at_once(self, store: BlobStore) -> None:
        bodies = [f"body {number}".encode() for number in range(100)]
        await store.persist([in_memory(body) for body in bodies])

        found = await asyncio.gather(*(read(store, name_of(body)) for body in bodies))

        assert found == bodies

    async def test_a_store_has_files_for_all_blobs_or_for_none(self, store: BlobStore) -> None:
        await store.persist([in_memory(HELLO)])

        files = [store.local(name) for name in (HELLO_NAME, NOWHERE_NAME)]

        assert (files[0] is None) == (files[1] is None) == (not has_local_files(store))
        if files[0] is not None:
            assert await asyncio.to_thread(Path(files[0]).read_bytes) == HELLO

    async def test_blobs_can_be_had_as_files(self, store: BlobStore) -> None:
        large = os.urandom(LARGEST_CHUNK + 1)
        await store.persist([in_memory(HELLO), in_memory(large)])

        async with store.staging() as folder:
            files = await bring(store, [HELLO_NAME, name_of(large), HELLO_NAME], folder)
            found = {name: Path(path).read_bytes() for name, path in files.items()}

        assert found == {HELLO_NAME: HELLO, name_of(large): large}

    async def test_files_are_never_of_missing_or_damaged_bytes(self, store: BlobStore) -> None:
        """Unless they are the store's own, which were not looked at."""
        await store.persist([in_memory(HELLO)])
        await self.damage(store, HELLO_NAME, b"jello")

        async with store.staging() as folder:
            await bring(store, [HELLO_NAME, NOWHERE_NAME], folder)

            assert os.listdir(folder) == []

    async def test_a_store_keeps_the_id_that_it_is_given(self, store: BlobStore) -> None:
        before = await store.identity()
        identity, other = uuid4(), uuid4()
        await store.set_identity(identity)
        first = await store.identity()
        await store.set_identity(other)

        assert (before, first, await store.identity()) == (None, identity, other)

    async def test_a_store_has_a_name_for_messages(self, store: BlobStore) -> None:
        assert store.name
        assert store.identity_place

    async def test_usage_counts_blobs_and_bytes(self, store: BlobStore) -> None:
        await store.persist([in_memory(b"one"), in_memory(b"three")])

        assert await store.usage() == StoreUsage(blobs=2, bytes=8)

    async def test_what_waits_in_staging_is_no_blob(self, store: BlobStore) -> None:
        async with store.staging() as folder:
            as_file(folder, HELLO)

            assert await store.usage() == StoreUsage(blobs=0, bytes=0)
            assert await store.missing([HELLO_NAME]) == {HELLO_NAME}

    async def test_two_runs_have_different_staging_folders(self, store: BlobStore) -> None:
        async with store.staging() as one, store.staging() as other:
            assert one != other
            assert os.path.isdir(one)
            assert os.path.isdir(other)

    async def test_a_staging_folder_goes_with_all_that_is_in_it(self, store: BlobStore) -> None:
        async with store.staging() as folder:
            os.makedirs(f"{folder}/some/where")
            as_file(folder, HELLO)

        assert not os.path.exists(folder)

    async def test_a_staging_folder_goes_when_its_run_fails(self, store: BlobStore) -> None:
        folders = []

        async def fail() -> None:
            async with store.staging() as folder:
                folders.append(folder)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert [os.path.exists(folder) for folder in folders] == [False]

    async def test_an_artifact_without_bytes_is_refused(self, store: BlobStore) -> None:
        with pytest.raises(StoreError, match="no bytes at hand"):
            await store.persist([StagedArtifact(size=5, blake3=HELLO_NAME)])

    async def test_an_artifact_without_a_name_is_refused(self, store: BlobStore) -> None:
        with pytest.raises(StoreError, match="BLAKE3 is not known"):
            await store.persist([StagedArtifact(body=HELLO, size=5)])

    async def test_a_file_outside_of_staging_is_refused_and_left_alone(
        self, store: BlobStore, tmp_path: Path
    ) -> None:
        mine = tmp_path / "mine"
        mine.write_bytes(HELLO)

        with pytest.raises(StoreError, match=f"{mine} is not below "):
            await store.persist([StagedArtifact(file=str(mine), size=5, blake3=HELLO_NAME)])

        assert mine.read_bytes() == HELLO
        assert await store.missing([HELLO_NAME]) == {HELLO_NAME}
