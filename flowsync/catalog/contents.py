"""The content units that are recorded, and their links to artifacts.

1. Units are known by their computed id (`model/content.py`). Inserting one that exists does nothing, so two syncs may save the same unit at once;
   the one that came second is told so, and finds it.
2. Within a transaction units are inserted before others are found, and these before links are changed, each sorted by key; therefore
   transactions that share units wait for each other but never deadlock.
3. A link that has an artifact may get another one but never loses it, and no row is written that does not change.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncCursor

from flowsync.catalog.columns import column
from flowsync.catalog.database import Database
from flowsync.catalog.sessions import Connection
from flowsync.model.content import (
    Content,
    decode_fields,
    encode_fields,
    fields_beyond_key,
    repo_key_id,
    type_name,
)
from flowsync.model.errors import CatalogError


class KnownContent(msgspec.Struct, frozen=True):
    """A stored unit and its links: relative path to artifact id, or to `None` where the bytes were never fetched."""

    content: Content
    links: dict[str, int | None]


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact of a unit at a path; `None` while its bytes were never fetched."""

    content_id: bytes
    relative_path: str
    artifact_id: int | None = None


class Contents:
    """The content units of a catalog. Any number of tasks may use it at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, wanted: Mapping[bytes, Content]) -> dict[bytes, KnownContent]:
        """Return the stored ones of the declared units, by id.

        Raise `CatalogError` when the stored fields of one no longer fit its type.
        """
        return _known(wanted, await self._database.fetch("find_contents", _lookup(wanted)))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["ContentTransaction"]:
        """Open a transaction that saves units; it is rolled back when an exception leaves the block."""
        async with self._database.transaction() as connection:
            yield ContentTransaction(self._database, connection)


class ContentTransaction:
    """One transaction that saves units and links. Lives as long as the `async with` that opened it; for one task."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    async def find(self, wanted: Mapping[bytes, Content]) -> dict[bytes, KnownContent]:
        """Return the stored ones of the declared units, as `Contents.find` does, those saved in this transaction included."""
        return _known(wanted, await self._fetch("find_contents", _lookup(wanted)))

    async def insert(self, units: Mapping[bytes, Content]) -> set[bytes]:
        """Insert the units that are new and return their ids. The others were saved before, perhaps a moment ago by another sync."""
        contents = units.values()
        rows = await self._fetch(
            "insert_contents",
            {
                "ids": list(units),
                "types": [type_name(type(content)) for content in contents],
                "fields": [encode_fields(content).decode() for content in contents],
                "repo_keys": column(repo_key_id(content) for content in contents),
            },
        )
        return {row[0] for row in rows}

    async def link(self, links: Sequence[Link]) -> None:
        """Insert links of units that `insert` returned, each path once a unit."""
        await self._database.run(self._connection, "link_artifacts", _columns(links))

    async def fill(self, links: Sequence[Link]) -> int:
        """Give existing links their artifact and return how many changed. Of two for one path, the last one counts."""
        filled = {
            (link.content_id, link.relative_path): link
            for link in links
            if link.artifact_id is not None
        }
        if not filled:
            return 0
        columns = _columns(list(filled.values()))
        cursor = await self._database.run(self._connection, "fill_links", columns)
        return cursor.rowcount

    async def execute(
        self, query: LiteralString | bytes, params: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> AsyncCursor[tuple[Any, ...]]:
        """Run any SQL inside the transaction, for content types that keep tables of their own."""
        self._database.round_trips += 1
        return await self._connection.execute(query, params)

    async def _fetch(self, name: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return await (await self._database.run(self._connection, name, params)).fetchall()


def _lookup(wanted: Mapping[bytes, Content]) -> dict[str, list[Any]]:
    """Return the parameters of `find_contents`. Fields that the key determines are known without reading them."""
    kinds = {type(content) for content in wanted.values()}
    detailed = [type_name(kind) for kind in kinds if fields_beyond_key(kind)]
    return {"ids": list(wanted), "types_with_fields": detailed}


def _known(
    wanted: Mapping[bytes, Content], rows: Sequence[tuple[Any, ...]]
) -> dict[bytes, KnownContent]:
    """Put the rows of `find_contents` together: those of the units come before those of their links."""
    known: dict[bytes, KnownContent] = {}
    for content_id, relative_path, artifact_id, fields in rows:
        if relative_path is None:
            declared = wanted[content_id]
            content = declared if fields is None else _decode(content_id, declared, fields)
            known[content_id] = KnownContent(content, {})
        else:
            known[content_id].links[relative_path] = artifact_id
    return known


def _decode(content_id: bytes, declared: Content, fields: str) -> Content:
    kind = type(declared)
    try:
        return decode_fields(kind, fields.encode())
    except msgspec.ValidationError as error:
        raise CatalogError(
            f"reading unit {content_id.hex()}: its stored fields do not fit {type_name(kind)}: {error}"
        ) from error


def _columns(links: Sequence[Link]) -> dict[str, list[Any]]:
    return {
        "content_ids": [link.content_id for link in links],
        "relative_paths": [link.relative_path for link in links],
        "artifact_ids": column(link.artifact_id for link in links),
    }
