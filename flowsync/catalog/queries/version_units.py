"""The units of one type that a version holds, with their fields and files: what generated files and
pages are made from.

All of a type come out of a server-side cursor in batches. A group is small, so it comes at once,
over a pooled connection. A version that is deleted while it is read is read to its end.

Also here: why a path is in a version or not.
"""

import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import msgspec

from flowsync.catalog.postgres.database import Database, server_cursor
from flowsync.catalog.queries.served_paths import ServedVersion
from flowsync.catalog.versions.versions import find_version
from flowsync.model.content import Content, id_of_group, type_name
from flowsync.model.recordable import problem_with_text
from flowsync.model.reports import Explanation, LeftOutNote, Presence, Removal, SourceNote
from flowsync.model.repository import LeftOut
from flowsync.model.url import redact

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


# Why a path is in a version, or is not, out of what is recorded anyway: memberships, sources, and
# what runs left out.
#
# What a deleted version decided is told of the version that took its rows over. What upstream says
# of a path now, no one asks here.

_ID: Final = re.compile("[0-9a-f]{32}")


async def explain(
    database: Database, name: str, path: str, number: int | None = None
) -> Explanation:
    """Say why a version (default: the latest) has the path or lacks it. Raise as `find_version`
    does.

    In place of a path, the id of a unit without artifacts can be asked for, in hexadecimal.
    """
    repository_id, version = await find_version(database, name, number)
    # No version has a path that cannot be recorded.
    asked_path = path if problem_with_text(path) is None else ""
    params: dict[str, Any] = {
        "repository": repository_id,
        "number": version.number,
        "path": asked_path,
    }
    present = await database.fetch("explain_present", params)
    removed = await database.fetch_one("explain_removed", params)
    if not present and removed is None and _ID.fullmatch(path):
        asked = {"repository": repository_id, "number": version.number, "id": bytes.fromhex(path)}
        present = await database.fetch("explain_unit", asked)
        removed = await database.fetch_one("explain_unit_removed", asked)
    failed = await database.fetch_one("explain_left_out", params)
    return Explanation(
        repository=name,
        version=version.number,
        path=path,
        present=tuple(_presence(*row) for row in present),
        removal=None if removed is None else _removal(*removed),
        failure=None if failed is None else _failure(path, *failed),
    )


def _presence(  # noqa: PLR0917 - the columns of a row
    type_name: str,
    added: int,
    run: int | None,
    line: int | None,
    read: list[str],
    sha256: bytes | None,
    blake3: bytes | None,
    size: int | None,
    stored: bool,
    origins: list[list[str]],
    fields: str | None = None,
) -> Presence:
    return Presence(
        type=type_name,
        added=added,
        run=run,
        line=line,
        read=tuple(read),
        sha256=None if sha256 is None else sha256.hex(),
        blake3=None if blake3 is None else blake3.hex(),
        size=size,
        stored=stored,
        origins=tuple(
            SourceNote(remote=remote, url=redact(url), policy=policy)  # type: ignore[arg-type]  # checked by the table
            for remote, url, policy in origins
        ),
        fields=None if fields is None else msgspec.json.decode(fields),
    )


def _removal(version: int, run: int | None, read: list[str], rolled_back_to: int | None) -> Removal:
    return Removal(version=version, run=run, read=tuple(read), rolled_back_to=rolled_back_to)


def _failure(path: str, run: int, url: str, reason: str, action: str, since: int) -> LeftOutNote:
    left_out = LeftOut(relative_path=path, url=url, reason=reason, action=action)  # type: ignore[arg-type]  # as above
    return LeftOutNote(run=run, runs_since=since, left_out=left_out)
