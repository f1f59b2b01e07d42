"""Finding a complete version by its repository's name and its number, with errors that say which of
the two is missing.

The roots of versions: one digest of the set of units that each holds (`model/content_set.py`).

1. A version gets its root with its completion, from the state of its predecessor and the units that
   its rows add and remove: the cost follows the change, and memory is flat. What a version started
   from does not matter, because its rows tell the difference to its predecessor in any case.
2. No version's root ever changes: deletion changes which rows say what a version holds, not what it
   holds.
3. Versions of a flowsync that knew no roots get them when they are first looked at, all of a
   repository at once, in one pass over its rows.

Decisions: docs/decisions/0003.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from flowsync.catalog.postgres.database import Database, server_cursor
from flowsync.catalog.versions.session import RepositorySession, Start, VersionSession
from flowsync.errors import RepositoryNotFoundError, VersionNotFoundError
from flowsync.model.content_set import EMPTY_STATE, root_of, with_units, without_units
from flowsync.model.repository import RepositoryVersion

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
    # Committed one by one: whoever holds several of these rows at once could meet a deletion that
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
    if number is not None and not 0 <= number <= LARGEST_NUMBER:
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
