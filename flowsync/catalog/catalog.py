"""The catalog as one thing to open, hand around and close."""

from collections.abc import Callable
from functools import cached_property
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
    or `None` where blobs are no files of this machine. Its parts are made when they are first asked
    for.
    """

    def __init__(
        self, conninfo: str, *, locate: Callable[[str], str | None], max_connections: int = 8
    ) -> None:
        self.database = Database(conninfo, max_connections=max_connections)
        self._locate = locate

    @cached_property
    def artifacts(self) -> Artifacts:
        """What is known of bytes."""
        return Artifacts(self.database, self._locate)

    @cached_property
    def contents(self) -> Contents:
        """Units and their files."""
        return Contents(self.database)

    @cached_property
    def remotes(self) -> Remotes:
        """Where the bytes of units come from."""
        return Remotes(self.database)

    @cached_property
    def alternate_sources(self) -> AlternateSources:
        """Where else they may come from."""
        return AlternateSources(self.database)

    @cached_property
    def repositories(self) -> Repositories:
        """Repositories and their versions."""
        return Repositories(self.database)

    @cached_property
    def runs(self) -> Runs:
        """Records of syncs."""
        return Runs(self.database)

    @cached_property
    def orphans(self) -> Orphans:
        """What no version has."""
        return Orphans(self.database)

    @cached_property
    def verification(self) -> Verification:
        """Which blobs were read again, and what was found."""
        return Verification(self.database)

    @cached_property
    def reclaiming(self) -> Reclaiming:
        """Blobs that are to go."""
        return Reclaiming(self.database)

    @cached_property
    def serving(self) -> Serving:
        """What is at a path of a version."""
        return Serving(self.database)

    @cached_property
    def units(self) -> VersionUnits:
        """The units of a version."""
        return VersionUnits(self.database)

    @cached_property
    def store_bindings(self) -> StoreBindings:
        """Which stores belong to this catalog."""
        return StoreBindings(self.database)

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
