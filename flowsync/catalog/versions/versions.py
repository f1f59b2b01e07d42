"""Finding a complete version by its repository's name and its number, with errors that say which of
the two is missing.

Also here: the session in which versions change, roots, the lock of a repository, and deletion. All
of them find a version and hold its lock.
"""

import asyncio
from collections import UserDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple, Self

import msgspec
from psycopg import AsyncServerCursor

from flowsync.catalog.postgres.database import Database, opened, server_cursor
from flowsync.catalog.postgres.sessions import Connection
from flowsync.errors import (
    DeclarationError,
    RepositoryBusyError,
    RepositoryNotFoundError,
    VersionKeptError,
    VersionNotFoundError,
)
from flowsync.model.content import EMPTY_STATE, root_of, with_units, without_units
from flowsync.model.measures import problem_with_count
from flowsync.model.recordable import problem_with_json, problem_with_text
from flowsync.model.repository import RepositoryVersion

# The session in which versions are made or deleted: the connection that holds the repository's
# lock, and what is written over it.


class VersionInfo(UserDict[str, Any]):
    """What is recorded with a version besides its units: JSON. What cannot be recorded is refused
    when it is put, with a `DeclarationError`.
    """

    def __setitem__(self, name: str, value: Any) -> None:
        problem = problem_with_text(name) or problem_with_json(value)
        if problem is not None:
            raise DeclarationError(f"what is to be recorded with a version as {name!r} {problem}")
        super().__setitem__(name, value)

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc, override]  # takes all that `update` does
        self.update(other)
        return self

    def check(self) -> None:
        """Raise `DeclarationError` when something in it was changed to what cannot be recorded."""
        self.update(dict(self.data))


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What a version starts from: the latest version, `previous`, with its `present` units, or the
    base, by repository id and number.

    `root_state` is that of the latest version; `None` when an older flowsync made it.
    """

    previous: int
    present: int
    root_state: bytes | None
    base_repository: int | None = None
    base_number: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the version starts without any unit."""
        return self.base_number is None and not self.present


class RepositorySession:
    """The one connection over which the versions of a repository are changed; made by the holder of
    the lock (`locked_connection`), and of no use after it.

    The statements get the id of the `repository` as a parameter besides their own.
    """

    def __init__(self, database: Database, connection: Connection, repository_id: int) -> None:
        self.database = database
        self.repository_id = repository_id
        self._connection = connection
        self._bound = {"repository": repository_id}

    async def fetch(self, name: str, **params: Any) -> list[tuple[Any, ...]]:
        """Run a named statement and return its rows."""
        cursor = await self.database.run(self._connection, name, {**self._bound, **params})
        return await cursor.fetchall() if cursor.description else []

    async def execute(self, name: str, **params: Any) -> int:
        """Run a named statement and return how many rows it touched."""
        cursor = await self.database.run(self._connection, name, {**self._bound, **params})
        return cursor.rowcount

    @asynccontextmanager
    async def cursor(
        self, name: str, **params: Any
    ) -> AsyncIterator[AsyncServerCursor[tuple[Any, ...]]]:
        """Open a server-side cursor on what a named statement gives, in a transaction of
        its own.
        """
        async with self.transaction():
            self.database.round_trips += 1
            async with opened(self._connection, name, {**self._bound, **params}) as cursor:
                yield cursor

    def cursor_beside(
        self, name: str
    ) -> AbstractAsyncContextManager[AsyncServerCursor[tuple[Any, ...]]]:
        """Open the like over a connection of its own, to be read while statements of the session
        run; it sees what they had written before.
        """
        self.database.round_trips += 3
        return server_cursor(self.database, name, self._bound)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Let the statements of the block be committed together, or not at all when an exception
        leaves it.
        """
        self.database.round_trips += 2
        async with self._connection.transaction():
            yield


class VersionSession(RepositorySession):
    """The session in which the membership of a version in the making is read and written.

    The statements get its `number` as a parameter too.
    """

    def __init__(
        self, database: Database, connection: Connection, repository_id: int, number: int
    ) -> None:
        super().__init__(database, connection, repository_id)
        self.number = number
        self._bound["number"] = number


# The roots of versions: one digest of the set of units that each holds (`model/content.py`).
#
# 1. A version gets its root with its completion, from the state of its predecessor and the units
#    that its rows add and remove: the cost follows the change, and memory is flat. What a version
#    started from does not matter, because its rows tell the difference to its predecessor in any
#    case.
# 2. No version's root ever changes: deletion changes which rows say what a version holds, not what
#    it holds.
# 3. Versions of a flowsync that knew no roots get them when they are first looked at, all of a
#    repository at once, in one pass over its rows.
#
# The reasons stand in docs/decisions/0003.

_BATCH: Final = 500
"""Units a batch."""

AT_ONCE: Final = 2000
"""Units that are read in one round trip; a cursor takes five and one a batch."""


class Listed(NamedTuple):
    """The units that a statement lists, and their number."""

    statement: str
    number: int


async def next_state(
    session: VersionSession, start: Start, *, added: int, removed: int, beside: bool = False
) -> bytes:
    """Return the state of the version in the making, given what it started from, with so many units
    `added` and `removed`.

    `beside` lets other statements of the session run meanwhile.
    """
    state = start.root_state
    if state is None:
        await add_missing_roots(session.database, session.repository_id)
        ((state,),) = await session.fetch("root_state", number=start.previous)
    changes = Listed("ids_added", added), Listed("ids_removed", removed)
    return await state_after(session, state, *changes, beside=beside)


async def state_after(
    session: RepositorySession,
    state: bytes,
    added: Listed,
    removed: Listed,
    *,
    beside: bool = False,
) -> bytes:
    """Return the state to which a `state` comes by units that are added and others that are
    removed; `beside` as above.
    """
    for listed, change in ((added, with_units), (removed, without_units)):
        async with aclosing(_units(session, listed, beside)) as batches:
            async for units in batches:
                state = await asyncio.to_thread(change, state, units)
    return state


async def _units(
    session: RepositorySession, listed: Listed, beside: bool
) -> AsyncGenerator[list[bytes], None]:
    statement, count = listed
    if count > AT_ONCE:
        reading = session.cursor_beside if beside else session.cursor
        async with reading(statement) as cursor:
            while batch := await cursor.fetchmany(_BATCH):
                yield [unit for (unit,) in batch]
    elif count:
        units = [unit for (unit,) in await session.fetch(statement)]
        for first in range(0, count, _BATCH):
            yield units[first : first + _BATCH]


async def add_missing_roots(database: Database, repository_id: int) -> None:
    """Give all complete versions of a repository their roots that have none."""
    missing = await database.fetch("versions_without_root", {"repository": repository_id})
    if missing:
        await _add_roots(database, repository_id, [number for (number,) in missing])


async def _add_roots(database: Database, repository_id: int, numbers: list[int]) -> None:
    """Go through the repository's history up to the last of `numbers`, and leave at each the root
    of the version.
    """
    waiting = iter(numbers)
    number = next(waiting)
    state = EMPTY_STATE
    params = {"repository": repository_id, "last": numbers[-1]}
    async with server_cursor(database, "membership_history", params) as cursor:
        while batch := await cursor.fetchmany(_BATCH):
            for changed, changes in groupby(batch, key=itemgetter(0)):
                while number < changed:
                    await _set_root(database, repository_id, number, state)
                    number = next(waiting)
                state = await asyncio.to_thread(_changed, state, list(changes))
    for last in (number, *waiting):
        await _set_root(database, repository_id, last, state)


def _changed(state: bytes, changes: Sequence[tuple[int, bytes, bool]]) -> bytes:
    came = [unit for _, unit, is_there in changes if is_there]
    went = [unit for _, unit, is_there in changes if not is_there]
    return without_units(with_units(state, came), went)


async def _set_root(database: Database, repository_id: int, number: int, state: bytes) -> None:
    # Committed one by one: a holder of several of these rows at once could meet a deletion that
    # holds others.
    params = {
        "repository": repository_id,
        "number": number,
        "state": state,
        "root": root_of(state),
    }
    await database.execute("set_root", params)


LARGEST_NUMBER: Final = 2**31 - 1
"""No version and no run has a larger number."""


async def find_version(
    database: Database, name: str, number: int | None = None
) -> tuple[int, RepositoryVersion]:
    """Return a complete version, the latest unless a number is given, with its repository's id.

    Raise `RepositoryNotFoundError` or `VersionNotFoundError` when there is none.
    """
    expect_possible(name)
    if number is not None and problem_with_count(number, 0, LARGEST_NUMBER) is not None:
        _, latest = await find_version(database, name)
        raise version_not_found(name, number, latest.number)
    params = {"name": name, "number": number}
    row = await database.fetch_one("find_version", params)
    if row is not None and _lacks_root(row):
        await add_missing_roots(database, row[0])
        row = await database.fetch_one("find_version", params)
    if row is None:
        raise repository_not_found(name)
    if row[1] is None:
        if number is None:
            raise VersionNotFoundError(f"repository {name!r} has no complete version")
        _, latest = await find_version(database, name)
        raise version_not_found(name, number, latest.number)
    return row[0], _version(name, row)


async def find_versions(database: Database, name: str) -> list[RepositoryVersion]:
    """Return the complete versions of a repository by number. Raise `RepositoryNotFoundError` when
    there is no such repository.
    """
    expect_possible(name)
    rows = await database.fetch("find_versions", {"name": name})
    if any(map(_lacks_root, rows)):
        await add_missing_roots(database, rows[0][0])
        rows = await database.fetch("find_versions", {"name": name})
    if not rows:
        raise repository_not_found(name)
    return [_version(name, row) for row in rows if row[1] is not None]


async def find_latest_versions(database: Database) -> list[RepositoryVersion]:
    """Return the latest complete version of every repository but the hidden ones, by name."""
    rows = await database.fetch("latest_versions")
    lacking = [row[1] for row in rows if _lacks_root(row[1:])]
    if lacking:
        for repository_id in lacking:
            await add_missing_roots(database, repository_id)
        rows = await database.fetch("latest_versions")
    return [_version(name, row) for name, *row in rows]


def expect_possible(name: str) -> None:
    """Raise `RepositoryNotFoundError` for a name that the database cannot even be asked for."""
    if problem_with_text(name) is not None:
        raise repository_not_found(name)


def repository_not_found(name: str) -> RepositoryNotFoundError:
    """Make the error of a name that no repository has."""
    return RepositoryNotFoundError(f"no repository is named {name!r}")


def version_not_found(name: str, number: int, latest: int) -> VersionNotFoundError:
    """Make the error of a number that no complete version of a repository has."""
    return VersionNotFoundError(
        f"repository {name!r} has no complete version {number}; its latest is {latest}"
    )


def _lacks_root(row: Sequence[Any]) -> bool:
    """Say whether the row of a version is one that an older flowsync made."""
    return row[1] is not None and row[-1] is None


def _version(name: str, row: Sequence[Any]) -> RepositoryVersion:
    _, number, created, added, removed, present, info, protected, root = row
    return RepositoryVersion(
        repository=name,
        number=number,
        created=created,
        added=added,
        removed=removed,
        present=present,
        info=info,
        protected=protected,
        root=root.hex(),
    )


# The lock of a repository: one at a time changes its versions, over all processes.
#
# It is a session lock of PostgreSQL, held by a connection of its own. Waiting for it costs nothing
# and can be cancelled. Who lost the connection lost the lock, and can write no more: whatever a
# holder writes goes over that connection.
#
# Its holder tells clean-up so, by a second lock that all holders share, before anything is
# looked up (`orphans.py`).
#
# The reasons stand in docs/decisions/0002.

_SCRATCH: Final = (
    "create_seen",
    "create_base",
    "create_addition",
    "create_added_path",
    "create_shared_path",
)


@asynccontextmanager
async def locked_connection(
    database: Database, name: str, repository_id: int, *, wait: bool
) -> AsyncIterator[Connection]:
    """Lend a connection that holds the lock of a repository until the block ends, and has the
    scratch tables of a version (`new_version.sql`), empty.

    Raise `RepositoryBusyError` when another has it and `wait` is false.
    """
    key = {"lock": database.locks.repositories, "repository": repository_id}
    entering = database.dedicated("enter_session", *_SCRATCH, leaving="empty_scratch")
    async with entering as connection:
        taking = "lock_repository" if wait else "try_lock_repository"
        cursor = await database.run(connection, taking, key)
        if await cursor.fetchone() != (True,):
            raise RepositoryBusyError(
                f"repository {name!r} is busy: another version of it is being made, or deleted"
            )
        yield connection


# Deleting versions, one by one or those that a repository does not retain.
#
# 1. Every other version keeps exactly its units, and with them its root. What a deleted version
#    added or removed is told by the next one from then on, which is counted anew; what the newest
#    ones added goes, and what they removed comes back.
# 2. The last complete version cannot be deleted, nor can one that is protected. Retention leaves
#    protected ones alone and does not count them.
# 3. All is one transaction under the repository's lock, for any number of versions at once: the
#    cost follows the rows of the units that they changed.
# 4. A number is never used again, also when the newest version is deleted. So a sync that remembers
#    the version it led to cannot take another one for it, and is not skipped as long as the latest
#    version is any other (`stages/upstream.py`).
#
# With numbers mapped to the next kept one, a row [added, removed) holds for just the kept versions
# that it held for before. What is left to do: rows that became empty vanish, and rows of one unit
# that now touch become one, or the unit would count as removed and added in one version.


class Squash(msgspec.Struct, frozen=True):
    """Which versions go, in order, and the kept version that tells the changes of each from then
    on; `None` behind the last kept one.
    """

    deleted: list[int]
    successors: list[int | None]


def plan_squash(complete: Sequence[int], deleted: set[int]) -> Squash:
    """Return how `deleted` ones of the `complete` versions of a repository, given in order, give
    way.
    """
    plan = Squash([], [])
    successor: int | None = None
    for number in reversed(complete):
        if number in deleted:
            plan.deleted.append(number)
            plan.successors.append(successor)
        else:
            successor = number
    return plan


def plan_retention(complete: Sequence[tuple[int, bool]], retain: int) -> Squash:
    """Return the squash that leaves the newest `retain` versions and the protected ones, given all
    with their protection in order.
    """
    unprotected = [number for number, protected in complete if not protected]
    return plan_squash([number for number, _ in complete], set(unprotected[:-retain]))


async def delete_version(
    database: Database, name: str, number: int, *, wait: bool
) -> RepositoryVersion | None:
    """Delete a complete version; return the one that tells its changes now, `None` when it was the
    newest.

    Raise `VersionKeptError` when it is protected or the only one, `RepositoryBusyError` when a
    version is being made and `wait` is false, `RepositoryNotFoundError` or `VersionNotFoundError`
    when there is no such version.
    """
    repository_id, _ = await find_version(database, name, number)
    async with locked_connection(database, name, repository_id, wait=wait) as connection:
        session = RepositorySession(database, connection, repository_id)
        await session.execute("discard_incomplete")
        async with session.transaction():
            versions = dict(await session.fetch("lock_versions"))
            _check_deletable(name, number, versions)
            plan = plan_squash(list(versions), {number})
            await _squash(session, plan)
        (successor,) = plan.successors
        if successor is None:
            return None
        _, version = await find_version(database, name, successor)
        return version


def _check_deletable(name: str, number: int, versions: Mapping[int, bool]) -> None:
    """Raise the error of what speaks against deleting a version, given all complete ones in order
    with their protection.
    """
    if not versions:
        # The whole repository was removed while we waited for the lock.
        raise repository_not_found(name)
    if number not in versions:
        # It was there before we waited for the lock.
        raise version_not_found(name, number, max(versions))
    if versions[number]:
        raise VersionKeptError(
            f"version {number} of repository {name!r} is protected from deletion; unprotect "
            "it first"
        )
    if len(versions) == 1:
        raise VersionKeptError(
            f"version {number} is the only one of repository {name!r}, and the last cannot be "
            "deleted"
        )


async def retain_versions(session: RepositorySession) -> None:
    """Delete the versions that the repository has beyond those it retains; one query when there are
    none.
    """
    rows = await session.fetch("surplus")
    if not rows:
        return
    ((retain,),) = rows
    async with session.transaction():
        versions = await session.fetch("lock_versions")
        await _squash(session, plan_retention(versions, retain))


async def _squash(session: RepositorySession, plan: Squash) -> None:
    if not plan.deleted:
        return
    pairs = {"deleted": plan.deleted, "successors": plan.successors}
    await session.execute("create_squash")
    await session.execute("collect_squash", **pairs)
    await session.execute("analyze_squash")
    await session.execute("drop_squashed")
    await session.execute("move_squashed")
    await session.execute("recount_versions", **pairs)
    await session.execute("drop_versions", **pairs)
