"""The catalog as one thing to open, hand around and close."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.queries.served_paths import Serving
from flowsync.catalog.queries.version_units import VersionUnits
from flowsync.catalog.records.contents import Artifacts, Contents
from flowsync.catalog.records.remotes import AlternateSources, Remotes
from flowsync.catalog.records.run_records import Runs, StoreBindings
from flowsync.catalog.upkeep.orphans import Orphans, Reclaiming
from flowsync.catalog.upkeep.verification import Verification
from flowsync.catalog.versions.repositories import Repositories


class Catalog:
    """All that is recorded in one database. Opened by an engine; shared by all its runs.

    `locate` gives the path of the blob with a BLAKE3 name, so that stored artifacts can be opened,
    or `None` where blobs are no files of this machine.
    """

    def __init__(
        self, conninfo: str, *, locate: Callable[[str], str | None], max_connections: int = 8
    ) -> None:
        self.database = Database(conninfo, max_connections=max_connections)
        self.artifacts = Artifacts(self.database, locate)
        self.contents = Contents(self.database)
        self.remotes = Remotes(self.database)
        self.alternate_sources = AlternateSources(self.database)
        self.repositories = Repositories(self.database)
        self.runs = Runs(self.database)
        self.orphans = Orphans(self.database)
        self.verification = Verification(self.database)
        self.reclaiming = Reclaiming(self.database)
        self.serving = Serving(self.database)
        self.units = VersionUnits(self.database)
        self.store_bindings = StoreBindings(self.database)

    async def __aenter__(self) -> Self:
        await self.database.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.database.close()
