"""The units of one type that a version holds, with their fields and files: what generated files and
pages are made from.

All of a type come out of a server-side cursor in batches. A group is small, so it comes at once,
over a pooled connection. A version that is deleted while it is read is read to its end.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import msgspec

from flowsync.catalog.postgres.database import Database, server_cursor
from flowsync.catalog.queries.served_paths import ServedVersion
from flowsync.catalog.versions.lookup import find_version
from flowsync.model.content import Content, id_of_group, type_name

BATCH: Final = 1000
"""Files a batch."""


class UnitRow(msgspec.Struct, frozen=True):
    """A unit, its fields as JSON, and one of its files; `None` for one that has none. `sha256` is
    hexadecimal.
    """

    content_id: bytes
    fields: str
    relative_path: str | None
    sha256: str | None
    size: int | None


class VersionUnits:
    """The units of versions by type; part of a `Catalog`. Any number of tasks may use it at
    once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def are_held(self, version: ServedVersion, types: Sequence[type[Content]]) -> bool:
        """Say whether the version holds a unit of one of the types."""
        params = {
            "repository": version.repository_id,
            "number": version.number,
            "types": [type_name(each) for each in types],
        }
        ((held,),) = await self._database.fetch("version_holds_type", params)
        return bool(held)

    async def rows(
        self,
        version: ServedVersion,
        content_type: type[Content],
        group: Sequence[Any] | None = None,
        *,
        by_path: bool = False,
        with_files: bool = True,
    ) -> AsyncGenerator[list[UnitRow], None]:
        """Yield the rows of the units of a type in batches: by id and path, or only those with a
        path, by path and id. Of a `group`, which is its key's values, all rows come at once. Rows
        `with_files` come once a file.

        Raise `VersionNotFoundError` when the version was deleted before, and `DeclarationError`
        when the values are no group of the type.
        """
        params: dict[str, Any] = {
            "repository": version.repository_id,
            "number": version.number,
            "with_files": with_files,
        }
        if group is not None:
            params["group"] = id_of_group(content_type, group)
            found = [_row(row) for row in await self._database.fetch("group_units", params)]
            await find_version(self._database, version.name, version.number)
            yield sorted(filter(_has_path, found), key=_by_path) if by_path else found
            return
        name = "version_files" if by_path else "version_units"
        params["type"] = type_name(content_type)
        async with server_cursor(self._database, name, params) as cursor:
            # Numbers are never used again: what is still there was there when the cursor was
            # opened.
            await find_version(self._database, version.name, version.number)
            while rows := await cursor.fetchmany(BATCH):
                yield [_row(row) for row in rows]


def _row(row: tuple[Any, ...]) -> UnitRow:
    content_id, fields, relative_path, sha256, size = row
    return UnitRow(
        content_id, fields, relative_path, None if sha256 is None else sha256.hex(), size
    )


def _has_path(row: UnitRow) -> bool:
    return row.relative_path is not None


def _by_path(row: UnitRow) -> tuple[str, bytes]:
    # As a database orders them by code point.
    return str(row.relative_path), row.content_id
