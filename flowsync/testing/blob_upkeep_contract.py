"""The half of `BlobStoreContract` that is about upkeep: what stands in a store, and removing it."""

import asyncio

import pytest

from flowsync.store import BlobStore
from flowsync.testing.bodies import HELLO, HELLO_NAME, NOWHERE_NAME, in_memory, name_of, read


class BlobUpkeepContract:
    """Tests of one adapter. They reach round it only through `damage`."""

    @pytest.fixture
    def store(self) -> BlobStore:
        raise NotImplementedError

    async def damage(self, store: BlobStore, name: str, body: bytes) -> None:
        """Replace the bytes of a blob behind the store's back."""
        raise NotImplementedError

    async def test_states_tell_what_stands_under_a_name(self, store: BlobStore) -> None:
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

    async def test_names_come_in_batches_each_once(self, store: BlobStore) -> None:
        bodies = [str(number).encode() for number in range(25)]
        await store.persist([in_memory(body) for body in bodies])

        batches = [batch async for batch in store.names(10)]

        assert [len(batch) for batch in batches] == [10, 10, 5]
        assert sorted(name for batch in batches for name in batch) == sorted(map(name_of, bodies))

    async def test_a_removed_blob_is_gone_and_can_be_stored_again(self, store: BlobStore) -> None:
        await store.persist([in_memory(HELLO), in_memory(b"stays")])

        async with store.removing():
            await store.remove([HELLO_NAME, NOWHERE_NAME])

        assert await store.missing([HELLO_NAME, name_of(b"stays")]) == {HELLO_NAME}
        await store.persist([in_memory(HELLO)])
        assert await read(store, HELLO_NAME) == HELLO

    async def test_a_quarantined_blob_is_missing_until_it_is_stored_again(
        self, store: BlobStore
    ) -> None:
        await store.persist([in_memory(HELLO)])
        await self.damage(store, HELLO_NAME, b"jello")

        for _ in range(2):
            async with store.removing():
                await store.quarantine([HELLO_NAME, NOWHERE_NAME])

        assert await store.missing([HELLO_NAME]) == {HELLO_NAME}
        assert [batch async for batch in store.names(10)] == []
        await store.persist([in_memory(HELLO)])
        await store.release([HELLO_NAME, NOWHERE_NAME])
        assert await read(store, HELLO_NAME) == HELLO

    async def test_right_bytes_in_quarantine_go_back_to_their_name_and_damaged_ones_stay(
        self, store: BlobStore
    ) -> None:
        other = name_of(b"other")
        await store.persist([in_memory(HELLO), in_memory(b"other")])
        await self.damage(store, other, b"jello")
        async with store.removing():
            await store.quarantine([HELLO_NAME, other])

        restored = await store.restore([HELLO_NAME, other, NOWHERE_NAME])

        assert restored == {HELLO_NAME}
        assert await read(store, HELLO_NAME) == HELLO
        assert await store.missing([HELLO_NAME, other]) == {other}

    async def test_many_store_at_once_and_a_remover_is_alone(self, store: BlobStore) -> None:
        inside: set[str] = set()
        together = 0

        async def store_some(name: str) -> None:
            nonlocal together
            for _ in range(5):
                async with store.storing():
                    assert "remover" not in inside
                    inside.add(name)
                    together = max(together, len(inside))
                    # A store that waits for nothing lets others in as well.
                    await asyncio.sleep(0)
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

    async def test_a_remover_gets_in_although_others_never_stop_storing(
        self, store: BlobStore
    ) -> None:
        removed = asyncio.Event()

        async def store_on(delay: int) -> None:
            while not removed.is_set():
                async with store.storing():
                    for _ in range(delay):
                        await asyncio.sleep(0)
                        await store.persist([in_memory(b"%d" % delay)])

        async def remove_once() -> None:
            async with store.removing():
                removed.set()

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for delay in (2, 3, 5):
                group.create_task(store_on(delay))
            group.create_task(remove_once())

    async def test_a_remover_that_gives_up_keeps_no_other_out(self, store: BlobStore) -> None:
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
