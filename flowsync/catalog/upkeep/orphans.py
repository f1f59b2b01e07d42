"""What nothing needs any more: units in no version, artifacts without a link, and their removal
beside running syncs.

A sync finds a row in one statement and refers to it in a later one. In between nothing in the
database says that the row is needed, but this:

1. What a look-up gives was touched less than an hour before, or is touched by it (`artifacts.sql`,
   `contents.sql`). So what was found by the versions in the making was touched at the earliest an
   hour before the oldest of them began.
2. The maker of a version holds a lock, shared with other makers, from before its first look-up
   until its last statement (`versions.py`).
3. Each batch of removals begins with `prune_cutoff`, which tries to take that lock for itself. If
   it can, no maker has found anything that it has yet to use; the one that opens a version waits
   for the batch, and the protection time is all that counts. If it cannot, nothing is removed that
   was touched later than an hour before the oldest version in the making was begun, whatever the
   protection time.
4. Rows are held before they are removed, and looked at once more then, by statements of their own:
   a membership or a link that was made before is seen, and none can be made any more, because its
   foreign key would have to share the row. A look-up that comes meanwhile waits for the row, and
   does not find it (rule 1 needs that: it is not touched any more).
5. Rows are held in the order units, links, artifacts, each by key, as syncs do; rows that others
   hold are passed over. So there is no deadlock.

What the rules leave to the protection time is a caller that holds ids outside of a version: a
caller who adds units by id, or a process that stores bytes for a client and links them afterwards.
At worst it fails, at a foreign key; no version ever loses a unit, because `repository_content`
refers to it.

Decisions: docs/decisions/0004.

Also here: the release of stored bytes, and the removal of a whole repository. The rules above hold
for all three.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.sessions import Connection
from flowsync.catalog.versions.versions import (
    RepositorySession,
    find_version,
    locked_connection,
    repository_not_found,
)
from flowsync.errors import CatalogError, CatalogUnavailableError, VersionKeptError
from flowsync.model.recordable import problem_with_text
from flowsync.model.reports import RemovalReport
from flowsync.model.repository import HIDDEN

WINDOW: Final = 2000
"""Rows looked at, and at most removed, at a time: some tens of milliseconds."""


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch of units amounts to: the units, their links, their sources; and units that
    something else refers to, which stay.
    """

    units: int = 0
    links: int = 0
    sources: int = 0
    kept: int = 0

    def __add__(self, other: "Gone") -> "Gone":
        return Gone(
            units=self.units + other.units,
            links=self.links + other.links,
            sources=self.sources + other.sources,
            kept=self.kept + other.kept,
        )


class Blob(msgspec.Struct, frozen=True):
    """The blob of an artifact that is recorded no longer: its name and its size in bytes."""

    name: str
    size: int


class Orphans:
    """The clean-up of one database; part of its `Catalog`. Several may run at once, in any number
    of processes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cutoff(self, older_than: timedelta) -> datetime:
        """Return the moment after which what was touched would not be removed by a batch that began
        now.
        """
        protection = _protection(self._database, older_than)
        row = await self._database.fetch_one("prune_cutoff", protection)
        assert row is not None
        moment: datetime = row[0]
        return moment

    async def contents(self, after: bytes, cutoff: datetime) -> tuple[bytes | None, list[bytes]]:
        """Look at some units behind `after`; return where to go on, `None` at the end, and the ids
        of the orphans among them.
        """
        params = {"after": after, "window": WINDOW, "cutoff": cutoff}
        row = await self._database.fetch_one("orphan_contents", params)
        assert row is not None
        return row[0], row[1]

    async def contents_among(self, ids: Sequence[bytes], cutoff: datetime) -> list[bytes]:
        """Return the ids of the orphans among the units."""
        params = {"ids": list(ids), "cutoff": cutoff}
        return [unit for (unit,) in await self._database.fetch("given_orphan_contents", params)]

    async def measure(self, ids: Sequence[bytes]) -> Gone:
        """Return what the removal of the units would amount to."""
        ((links, sources),) = await self._database.fetch("count_links", {"ids": list(ids)})
        return Gone(units=len(ids), links=links, sources=sources)

    async def artifacts(
        self, after: int, cutoff: datetime, only: Sequence[bytes] | None = None
    ) -> tuple[int | None, list[int], int]:
        """Look at some artifacts behind `after`; return where to go on, `None` at the end, and ids
        and bytes of the orphans among them.

        An artifact all of whose links are of orphan units, or of those of them that `only` lists,
        is an orphan already.
        """
        params = {"after": after, "window": WINDOW, "cutoff": cutoff, "only": only}
        row = await self._database.fetch_one("orphan_artifacts", params)
        assert row is not None
        return row[0], row[1], row[2]

    async def remove_contents(self, ids: Sequence[bytes], older_than: timedelta) -> Gone:
        """Remove those of the units that are still orphans, in one transaction where nothing else
        refers to any.
        """
        try:
            return await self._remove_contents(ids, older_than)
        except CatalogUnavailableError:
            raise
        except CatalogError:
            if len(ids) == 1:
                return Gone(kept=1)
        half = len(ids) // 2
        first = await self.remove_contents(ids[:half], older_than)
        return first + await self.remove_contents(ids[half:], older_than)

    async def remove_artifacts(self, ids: Sequence[int], older_than: timedelta) -> list[Blob]:
        """Remove those of the artifacts that are still orphans; return the blobs that are now of no
        use. Only within `BlobStore.removing`.
        """
        async with removal(self._database, older_than) as (connection, cutoff):
            params = {"ids": list(ids), "cutoff": cutoff}
            held = await self._ids(connection, "lock_orphan_artifacts", params)
            cursor = await self._database.run(
                connection, "delete_unlinked_artifacts", {"ids": held}
            )
            return [Blob(name.hex(), size) for name, size in await cursor.fetchall()]

    async def unrecorded(self, names: Sequence[str]) -> list[str]:
        """Return those of the blobs' names that no artifact has."""
        given = {"names": [bytes.fromhex(name) for name in names]}
        recorded = {name.hex() for (name,) in await self._database.fetch("recorded_blobs", given)}
        return [name for name in names if name not in recorded]

    async def _remove_contents(self, ids: Sequence[bytes], older_than: timedelta) -> Gone:
        async with removal(self._database, older_than) as (connection, cutoff):
            params = {"ids": list(ids), "cutoff": cutoff}
            held = await self._ids(connection, "lock_orphan_contents", params)
            unused = {"ids": await self._ids(connection, "unused_contents", {"ids": held})}
            counts = [
                (await self._database.run(connection, name, unused)).rowcount
                for name in ("delete_sources_of", "delete_links_of", "delete_contents")
            ]
        return Gone(sources=counts[0], links=counts[1], units=counts[2])

    async def _ids(self, connection: Connection, name: str, params: dict[str, Any]) -> list[Any]:
        cursor = await self._database.run(connection, name, params)
        return [key for (key,) in await cursor.fetchall()]


@asynccontextmanager
async def removal(
    database: Database, older_than: timedelta
) -> AsyncIterator[tuple[Connection, datetime]]:
    """Open the transaction of a batch of removals; give its connection, and the moment after which
    what was touched must stay.
    """
    async with database.transaction() as connection:
        await database.run(connection, "durable_commit")
        cursor = await database.run(connection, "prune_cutoff", _protection(database, older_than))
        ((cutoff,),) = await cursor.fetchall()
        yield connection, cutoff


def _protection(database: Database, older_than: timedelta) -> dict[str, Any]:
    return {"lock": database.locks.repositories, "older_than": older_than}


# The release of stored bytes: links of a repository's versions become what they would be had the
# bytes never been fetched.
#
# The rules by which a running sync keeps what it found are those of the whole module, with no
# protection time: while no version is in the making, all may go that the versions allow; while one
# is, nothing that was touched since an hour before it began.
#
# Links are held before their artifacts, as syncs do. Then the artifacts are judged once more, and
# none can gain a link any more.

_AT_ONCE: Final = timedelta(0)


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the bytes of an artifact may go: not when another version needs them, a path has no
    source, or a sync may be using them.
    """

    id: int
    size: int
    relative_path: str | None
    shared: bool
    sourceless: bool
    busy: bool

    @property
    def may_go(self) -> bool:
        """Whether nothing speaks against it."""
        return not (self.shared or self.sourceless or self.busy)


class Reclaiming:
    """The release of bytes in one database; part of its `Catalog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def scope(self, repository: str, numbers: Sequence[int]) -> "Scope":
        """Return what is to be reclaimed: what only the versions `numbers` of the repository need.

        Raise `RepositoryNotFoundError` or `VersionNotFoundError` when there is none.
        """
        repository_id, _ = await find_version(self._database, repository)
        for number in numbers:
            await find_version(self._database, repository, number)
        params = {"repository": repository_id, "numbers": list(numbers)}
        ((kept,),) = await self._database.fetch("kept_numbers", params)
        return Scope(self._database, repository_id, kept)


class Scope:
    """Some versions of a repository whose bytes are to be released; `kept` are the numbers of its
    other versions.
    """

    def __init__(self, database: Database, repository_id: int, kept: list[int]) -> None:
        self._database = database
        self._params = {"repository": repository_id, "kept": kept}

    async def judge(self, ids: Sequence[int]) -> list[Release]:
        """Return what may become of artifacts, in the order of their ids."""
        async with removal(self._database, _AT_ONCE) as (connection, cutoff):
            return await self._judge(connection, ids, cutoff)

    async def drop(self, ids: Sequence[int]) -> list[Blob]:
        """Let go of those of the artifacts that still may go; return the blobs that are now of no
        use. Only within `BlobStore.removing`.
        """
        run = self._database.run
        async with removal(self._database, _AT_ONCE) as (connection, cutoff):
            given = {"ids": list(ids), "cutoff": cutoff}
            await run(connection, "lock_links_of_artifacts", given)
            cursor = await run(connection, "lock_orphan_artifacts", given)
            held = [number for (number,) in await cursor.fetchall()]
            verdicts = await self._judge(connection, held, cutoff)
            free = {"ids": [verdict.id for verdict in verdicts if verdict.may_go]}
            await run(connection, "empty_links", free)
            cursor = await run(connection, "delete_unlinked_artifacts", free)
            return [Blob(name.hex(), size) for name, size in await cursor.fetchall()]

    async def _judge(
        self, connection: Connection, ids: Sequence[int], cutoff: datetime
    ) -> list[Release]:
        params = {**self._params, "ids": list(ids), "cutoff": cutoff}
        cursor = await self._database.run(connection, "judge_artifacts", params)
        return [_verdict(row) for row in await cursor.fetchall()]


def _verdict(row: Sequence[Any]) -> Release:
    number, size, relative_path, shared, sourceless, busy = row
    return Release(
        id=number,
        size=size,
        relative_path=relative_path,
        shared=shared,
        sourceless=sourceless,
        busy=busy,
    )


# Removing a whole repository: its versions, its runs, and what it remembers of upstream.
#
# 1. It is done under the repository's lock, in one transaction: no sync is under way, and none
#    begins.
# 2. A protected version protects its repository.
# 3. Units, artifacts and blobs stay. Clean-up removes those that no other repository needs.


async def measure_removal(database: Database, name: str) -> tuple[int, RemovalReport]:
    """Return the id of a repository, and what would go with it. Raise `RepositoryNotFoundError`
    when there is none.
    """
    # What alternate sources list goes with them.
    row = (
        None
        if name.startswith(HIDDEN) or problem_with_text(name) is not None
        else await database.fetch_one("measure_repository", {"name": name})
    )
    if row is None:
        raise repository_not_found(name)
    repository_id, versions, protected, units, runs = row
    report = RemovalReport(
        repository=name, versions=versions, protected=protected, units=units, runs=runs
    )
    return repository_id, report


async def remove_repository(database: Database, name: str, *, wait: bool = True) -> RemovalReport:
    """Remove a repository and return what went with it.

    Raise `VersionKeptError` when a version of it is protected, `RepositoryBusyError` when a version
    is being made and `wait` is false, `RepositoryNotFoundError` when there is no such repository.
    """
    repository_id, _ = await measure_removal(database, name)
    async with locked_connection(database, name, repository_id, wait=wait) as connection:
        session = RepositorySession(database, connection, repository_id)
        _, report = await measure_removal(database, name)
        async with session.transaction():
            protected = await session.fetch("lock_protected")
            if protected:
                ((number,),) = protected
                raise VersionKeptError(
                    f"repository {name!r} cannot be removed: its version {number} is "
                    "protected; unprotect it first"
                )
            await session.execute("drop_repository")
    return report
