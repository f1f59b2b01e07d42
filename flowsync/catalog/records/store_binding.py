"""Which store a catalog has its bytes in, as the catalog records it."""

from uuid import UUID

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.schema import StoreBinding

_SAMPLE = 50


class StoreBindings:
    """The record of the store of one catalog; part of its `Catalog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> StoreBinding:
        """Return what is recorded now."""
        ((catalog, store),) = await self._database.fetch("identity")
        return StoreBinding(catalog=catalog, store=store)

    async def bind(self, before: UUID | None, store: UUID) -> None:
        """Record the store, unless another process recorded one since `before` was read."""
        await self._database.execute("bind_store", {"before": before, "store": store})

    async def sample(self) -> list[str]:
        """Return the names of some blobs that are recorded; none when there are none."""
        return [name for (name,) in await self._database.fetch("newest_blobs", {"limit": _SAMPLE})]
