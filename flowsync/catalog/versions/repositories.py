"""Repositories and their versions: what there is, what it holds, and a new one.

1. A repository comes into being with its first use, with a complete and empty version 0; the
   `Repository` value at hand decides its settings.
2. Only complete versions are seen here; the one in the making belongs to its opener.
3. What a version holds never changes; it may be deleted, and then the others still hold what they
   held (`versions.py`).
4. Methods that name a repository raise `RepositoryNotFoundError`, and those that name a version
   `VersionNotFoundError`, when there is none; an iterator does so when its first batch is asked
   for.
5. What may be large comes in batches (`entries.py`).
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions import entries as version_content
from flowsync.catalog.versions.entries import BATCH_SIZE
from flowsync.catalog.versions.new_version import NewVersion, ensure_repository, open_version
from flowsync.catalog.versions.versions import (
    RepositorySession,
    delete_version,
    expect_possible,
    find_latest_versions,
    find_version,
    find_versions,
    locked_connection,
    repository_not_found,
    retain_versions,
)
from flowsync.errors import RepositoryNotFoundError
from flowsync.model.repository import (
    BareChange,
    BareUnit,
    Change,
    Repository,
    RepositoryVersion,
    UnitFields,
    VersionEntry,
)


class Repositories:
    """The repositories of one database; part of its `Catalog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, repository: Repository) -> None:
        """Create the repository unless it exists, and give it the settings of `repository`. One
        query when there is nothing to do.

        When it is to retain fewer versions than before, the surplus is deleted, after waiting for
        the maker of a version of it.
        """
        repository_id, changed = await ensure_repository(self._database, repository)
        if changed and repository.retain_versions is not None:
            async with locked_connection(
                self._database, repository.name, repository_id, wait=True
            ) as connection:
                session = RepositorySession(self._database, connection, repository_id)
                await retain_versions(session)

    async def repository(self, name: str) -> Repository:
        """Return a repository with the settings that it has."""
        expect_possible(name)
        row = await self._database.fetch_one("find_repository", {"name": name})
        if row is None:
            raise repository_not_found(name)
        _, allowed, retain = row
        return Repository(
            name=name,
            allowed_types=None if allowed is None else frozenset(allowed),
            retain_versions=retain,
        )

    async def names(self) -> list[str]:
        """Return the names of all repositories in order, without hidden ones."""
        return [name for (name,) in await self._database.fetch("repository_names")]

    async def latest_versions(self) -> list[RepositoryVersion]:
        """Return the latest version of every repository, by name, without hidden ones."""
        return await find_latest_versions(self._database)

    async def versions(self, name: str) -> list[RepositoryVersion]:
        """Return the complete versions by number."""
        return await find_versions(self._database, name)

    async def version(self, name: str, number: int | None = None) -> RepositoryVersion:
        """Return a complete version, the latest unless a number is given."""
        _, version = await find_version(self._database, name, number)
        return version

    def entries(
        self, name: str, number: int | None = None, pattern: str | None = None
    ) -> AsyncGenerator[list[VersionEntry], None]:
        """Yield the entries of a version (default: the latest) in order of path, in batches.

        `pattern` is a glob on the whole path, with the meaning of `fnmatch.fnmatchcase`.
        """
        return version_content.entries(self._database, name, number, pattern)

    def difference(self, name: str, before: int, after: int) -> AsyncGenerator[list[Change], None]:
        """Yield what differs from version `before` to version `after`, which may be the older one,
        in order of path, in batches.
        """
        return version_content.difference(self._database, name, before, after)

    def bare_units(
        self, name: str, number: int | None = None
    ) -> AsyncGenerator[list[BareUnit], None]:
        """Yield the units of a version (default: the latest) that have no artifacts, which
        `entries` lacks, by type and id, in batches.
        """
        return version_content.bare_units(self._database, name, number)

    async def unit_fields(self, content_ids: Sequence[bytes]) -> list[UnitFields]:
        """Return type and fields of those of the units that are known, in the order of their ids.
        One query.
        """
        return await version_content.unit_fields(self._database, content_ids)

    def bare_difference(
        self, name: str, before: int, after: int
    ) -> AsyncGenerator[list[BareChange], None]:
        """Yield the units without artifacts in which two versions differ, which `difference` lacks,
        by type and id, in batches.
        """
        return version_content.bare_difference(self._database, name, before, after)

    def content_ids(
        self,
        name: str,
        number: int | None = None,
        batch_size: int = BATCH_SIZE,
        *,
        type_name: str | None = None,
        reverse: bool = False,
    ) -> AsyncGenerator[list[bytes], None]:
        """Yield the ids of a version's units (default: the latest), or those of one type, in order,
        at most `batch_size` at a time.
        """
        return version_content.content_ids(
            self._database, name, number, batch_size, type_name=type_name, reverse=reverse
        )

    def added_ids(
        self, name: str, number: int, base: int | None = None
    ) -> AsyncGenerator[list[bytes], None]:
        """Yield the ids of the units that a version has and `base` (default: its predecessor) has
        not, in order, in batches.
        """
        return version_content.gained_ids(self._database, name, number, base)

    def removed_ids(
        self, name: str, number: int, base: int | None = None
    ) -> AsyncGenerator[list[bytes], None]:
        """Yield the ids of the units that `base` (default: the predecessor) has and a version has
        not, in order, in batches.
        """
        return version_content.gained_ids(self._database, name, number, base, lost=True)

    async def missing_artifacts(self, name: str, number: int | None = None) -> int:
        """Return how many paths of a version (default: the latest) have no artifact, because their
        bytes were never fetched.
        """
        return await version_content.count_missing_artifacts(self._database, name, number)

    def new_version(
        self,
        repository: Repository,
        *,
        wait: bool = True,
        base: tuple[str, int] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> AbstractAsyncContextManager[NewVersion]:
        """Open a new version of `repository`, which is created if need be; see
        `opening.open_version`.
        """
        return open_version(self._database, repository, wait=wait, base=base, info=info or {})

    async def roll_back(
        self,
        name: str,
        number: int,
        *,
        wait: bool = True,
        settle: Callable[[], None] = lambda: None,
    ) -> RepositoryVersion | None:
        """Make a new version that holds what version `number` holds; return `None`, and make none,
        when the latest version does already. `settle` is called when the last step begins.

        The next sync brings the repository forward again: what it remembers of upstream led to
        another version, so it is not skipped.
        """
        info = {"rolled_back_to": number}
        return await self._equal(
            await self.repository(name), (name, number), info, wait=wait, settle=settle
        )

    async def promote(
        self,
        source: str,
        number: int | None,
        target: str,
        *,
        wait: bool = True,
        settle: Callable[[], None] = lambda: None,
    ) -> RepositoryVersion | None:
        """Make a new version of `target` as `roll_back` does, that holds what version `number` of
        `source` holds (the latest without one). A `target` that does not exist is made.
        """
        promoted = await self.version(source, number)
        try:
            repository = await self.repository(target)
        except RepositoryNotFoundError:
            repository = Repository(name=target)
        info = {"promoted_from": f"{source}@{promoted.number}"}
        return await self._equal(
            repository, (source, promoted.number), info, wait=wait, settle=settle
        )

    async def _equal(
        self,
        repository: Repository,
        base: tuple[str, int],
        info: dict[str, Any],
        *,
        wait: bool,
        settle: Callable[[], None],
    ) -> RepositoryVersion | None:
        """Make a version of the repository that holds what `base` holds, or none."""
        async with self.new_version(repository, wait=wait, base=base, info=info) as version:
            version.this_sync = lambda _: settle()
        return version.completed

    async def delete_version(
        self, name: str, number: int, *, wait: bool = True
    ) -> RepositoryVersion | None:
        """Delete a version and return the one that tells its changes from now on; see
        `versions.delete_version`.
        """
        return await delete_version(self._database, name, number, wait=wait)

    async def protect_version(self, name: str, number: int, *, protected: bool = True) -> None:
        """Keep a version from being deleted, by retention and by anyone; or, with
        `protected=False`, no longer.
        """
        await find_version(self._database, name, number)
        params = {"name": name, "number": number, "protected": protected}
        if not await self._database.execute("protect_version", params):
            # It was deleted in between.
            await find_version(self._database, name, number)
