import pytest

from flowsync.store import BlobStore
from flowsync.testing.blob_store_contract import BlobStoreContract
from flowsync.testing.memory_store import MemoryBlobStore


class TestMemoryBlobStore(BlobStoreContract):
    @pytest.fixture
    async def store(self, tmp_path):
        async with MemoryBlobStore(tmp_path / "staging") as store:
            yield store

    async def damage(self, store: BlobStore, name: str, body: bytes) -> None:
        assert isinstance(store, MemoryBlobStore)
        store.damage(name, body)
