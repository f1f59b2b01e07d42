"""What versions hold, and how they differ, read in batches so that memory does not grow with the
version.

They come out of a server-side cursor (`database.py`). No index has the paths of one repository in
order, so a page by key would sort the whole version again for each page. A version that is deleted
while it is read is read to its end; one that was deleted before is never taken for another one.

Close an iterator that is left early (`contextlib.aclosing`), or its connection lives until the
garbage collector finds it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from psycopg import AsyncServerCursor

from flowsync.catalog.postgres.database import Database, server_cursor
from flowsync.catalog.postgres.glob import regular_expression
from flowsync.catalog.versions.versions import find_version
from flowsync.model.recordable import problem_with_text
from flowsync.model.repository import (
    BareChange,
    BareUnit,
    Change,
    ChangeKind,
    UnitFields,
    VersionEntry,
)

BATCH_SIZE: Final = 2000
"""Ids or entries a batch, unless the caller says otherwise."""


async def entries(
    database: Database, name: str, number: int | None, pattern: str | None
) -> AsyncGenerator[list[VersionEntry], None]:
    """Yield the entries of a version whose path matches the glob `pattern`, in order of path."""
    repository_id, version = await find_version(database, name, number)
    if pattern is not None and problem_with_text(pattern) is not None:
        # No path matches it.
        return
    params = {
        "repository": repository_id,
        "number": version.number,
        "pattern": None if pattern is None else regular_expression(pattern),
    }
    async with _cursor(database, "version_entries", params, name, version.number) as cursor:
        while rows := await cursor.fetchmany(BATCH_SIZE):
            yield [_entry(row) for row in rows]


async def difference(
    database: Database, name: str, before: int, after: int
) -> AsyncGenerator[list[Change], None]:
    """Yield what differs from version `before` to version `after`, in order of path."""
    repository_id, _ = await find_version(database, name, before)
    await find_version(database, name, after)
    params = {"repository": repository_id, "before": before, "after": after}
    async with _cursor(database, "version_difference", params, name, before, after) as cursor:
        while rows := await cursor.fetchmany(BATCH_SIZE):
            yield [_change(row) for row in rows]


async def bare_units(
    database: Database, name: str, number: int | None
) -> AsyncGenerator[list[BareUnit], None]:
    """Yield the units of a version that have no artifacts, by type and id."""
    repository_id, version = await find_version(database, name, number)
    params = {"repository": repository_id, "number": version.number}
    async with _cursor(database, "version_bare_units", params, name, version.number) as cursor:
        while rows := await cursor.fetchmany(BATCH_SIZE):
            yield [_bare_unit(*row) for row in rows]


async def unit_fields(database: Database, content_ids: Sequence[bytes]) -> list[UnitFields]:
    """Return type and fields of those of the units that are known, in the order of their ids."""
    rows = await database.fetch("unit_fields", {"ids": list(content_ids)})
    return [
        UnitFields(content_id=content_id, type=type_name, fields=msgspec.json.decode(fields))
        for content_id, type_name, fields in rows
    ]


async def bare_difference(
    database: Database, name: str, before: int, after: int
) -> AsyncGenerator[list[BareChange], None]:
    """Yield the units without artifacts in which two versions differ, by type and id."""
    repository_id, _ = await find_version(database, name, before)
    await find_version(database, name, after)
    params = {"repository": repository_id, "before": before, "after": after}
    async with _cursor(database, "version_bare_difference", params, name, before, after) as cursor:
        while rows := await cursor.fetchmany(BATCH_SIZE):
            yield [
                BareChange(kind="added" if is_added else "removed", unit=_bare_unit(*unit))
                for is_added, *unit in rows
            ]


async def gained_ids(
    database: Database, name: str, number: int, base: int | None, *, lost: bool = False
) -> AsyncGenerator[list[bytes], None]:
    """Yield the ids of the units that a version gained over `base` (default: its predecessor), or
    lost, in order.
    """
    repository_id, _ = await find_version(database, name, number)
    if base is None:
        # Whatever number the predecessor has: numbers that were never completed or are deleted have
        # its units too.
        base, read = number - 1, [number]
    else:
        await find_version(database, name, base)
        read = [number, base]
    one, other = (base, number) if lost else (number, base)
    params = {"repository": repository_id, "number": one, "base": other}
    async with _cursor(database, "version_gain", params, name, *read) as cursor:
        while rows := await cursor.fetchmany(BATCH_SIZE):
            yield [content_id for (content_id,) in rows]


async def content_ids(
    database: Database,
    name: str,
    number: int | None,
    batch_size: int,
    *,
    type_name: str | None,
    reverse: bool,
) -> AsyncGenerator[list[bytes], None]:
    """Yield the ids of a version's units, or those of one type, in order of id."""
    repository_id, version = await find_version(database, name, number)
    params = {"repository": repository_id, "number": version.number, "type": type_name}
    statement_name = "version_content_ids_reversed" if reverse else "version_content_ids"
    async with _cursor(database, statement_name, params, name, version.number) as cursor:
        while rows := await cursor.fetchmany(batch_size):
            yield [content_id for (content_id,) in rows]


async def unfinished_content_ids(
    database: Database, repository_id: int, number: int, batch_size: int
) -> AsyncGenerator[list[bytes], None]:
    """Yield the ids of the units that are in an incomplete version at this moment, in order
    of id.
    """
    params = {"repository": repository_id, "number": number, "type": None}
    async with server_cursor(database, "version_content_ids", params) as cursor:
        while rows := await cursor.fetchmany(batch_size):
            yield [content_id for (content_id,) in rows]


async def count_missing_artifacts(database: Database, name: str, number: int | None) -> int:
    """Return how many paths of a version have no artifact."""
    repository_id, version = await find_version(database, name, number)
    params = {"repository": repository_id, "number": version.number}
    ((count,),) = await database.fetch("missing_artifacts", params)
    await find_version(database, name, version.number)
    return int(count)


@asynccontextmanager
async def _cursor(
    database: Database, statement_name: str, params: Mapping[str, Any], name: str, *numbers: int
) -> AsyncIterator[AsyncServerCursor[tuple[Any, ...]]]:
    """Open a cursor on what a statement says of versions. Raise `VersionNotFoundError` when one of
    them was deleted before it was open.
    """
    async with server_cursor(database, statement_name, params) as cursor:
        # Numbers are never used again: a version that is still there was there when the cursor was
        # opened.
        for number in numbers:
            await find_version(database, name, number)
        yield cursor


def _entry(row: Sequence[Any]) -> VersionEntry:
    content_id, type_name, relative_path, sha256, blake3, size, stored = row
    return VersionEntry(
        content_id=content_id,
        type=type_name,
        relative_path=relative_path,
        sha256=None if sha256 is None else sha256.hex(),
        blake3=None if blake3 is None else blake3.hex(),
        size=size,
        stored=stored,
    )


def _bare_unit(content_id: bytes, type_name: str, fields: str) -> BareUnit:
    return BareUnit(content_id=content_id, type=type_name, fields=msgspec.json.decode(fields))


def _change(row: Sequence[Any]) -> Change:
    before = None if row[0] is None else _entry(row[:7])
    after = None if row[7] is None else _entry(row[7:])
    kind: ChangeKind = "added" if before is None else "removed" if after is None else "changed"
    either = before or after
    assert either is not None
    return Change(kind=kind, relative_path=either.relative_path, before=before, after=after)
