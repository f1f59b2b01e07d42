"""The content units that are recorded, and their links to artifacts.

1. Units are known by their computed id (`model/content.py`), which covers all that was declared.
   Inserting one that exists does nothing, so two syncs may save the same unit at once; the one that
   came second is told so, and finds it.
2. Within a transaction units are inserted before others are found, and these before links are
   changed, each sorted by key; therefore transactions that share units wait for each other but
   never deadlock.
3. A stored unit never changes. A link that has no artifact gets one, with the bytes that it had
   before if it had any; no other artifact ever takes its place. No row is written that does not
   change.

Also here: the artifacts that are recorded. A link has one end in each.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString

import msgspec
from msgspec.structs import replace
from psycopg import AsyncCursor

from flowsync.catalog.postgres.database import Database, column, digest_columns
from flowsync.catalog.postgres.sessions import Connection
from flowsync.errors import CatalogError
from flowsync.model.artifact import HEX_LENGTHS, Artifact, StagedArtifact, StoredArtifact
from flowsync.model.content import Content, encode_fields, group_id, key_id, repo_key_id, type_name

KnownLinks = dict[str, int | None]
"""The links of a stored unit: relative path to artifact id, or to `None` where the bytes are not
here.
"""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact of a unit at a path; `None` while its bytes are not here."""

    content_id: bytes
    relative_path: str
    artifact_id: int | None = None


class Contents:
    """The content units of a catalog. Any number of tasks may use it at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, ids: Iterable[bytes]) -> dict[bytes, KnownLinks]:
        """Return the links of those of the units that are stored, by id."""
        return _known(await self._database.fetch("find_contents", {"ids": list(ids)}))

    async def of_keys(self, units: Sequence[Content]) -> list[list[bytes]]:
        """Return for each unit the ids of what is stored with its natural key."""
        rows = await self._database.fetch("units_of_keys", key_columns(units))
        return [[found for found, _ in each] for each in by_key(len(units), rows)]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["ContentTransaction"]:
        """Open a transaction that saves units; it is rolled back when an exception leaves the
        block.
        """
        async with self._database.transaction() as connection:
            yield ContentTransaction(self._database, connection)


class ContentTransaction:
    """One transaction that saves units and links. Lives as long as the `async with` that opened it;
    for one task.
    """

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    async def find(self, ids: Iterable[bytes]) -> dict[bytes, KnownLinks]:
        """Return what is stored, as `Contents.find` does, what was saved in this transaction
        included.
        """
        return _known(await self._fetch("find_contents", {"ids": list(ids)}))

    async def insert(
        self, units: Mapping[bytes, Content], keys: Mapping[bytes, bytes] = {}
    ) -> set[bytes]:
        """Insert the units that are new and return their ids. The others were saved before, perhaps
        a moment ago by another sync.

        `keys` has the ids of the natural keys of units that have an id of their own.
        """
        contents = units.values()
        types: set[type[Content]] = set(map(type, contents))
        grouped = any(each.group_key for each in types)
        rows = await self._fetch(
            "insert_contents",
            {
                "ids": list(units),
                "keys": column(map(keys.get, units)),
                "types": [type_name(type(content)) for content in contents],
                "fields": [encode_fields(content).decode() for content in contents],
                "repo_keys": column(repo_key_id(content) for content in contents),
                "groups": column(map(group_id, contents)) if grouped else [],
            },
        )
        return {row[0] for row in rows}

    async def link(self, links: Sequence[Link]) -> None:
        """Insert links of units that `insert` returned, each path once a unit."""
        await self._database.run(self._connection, "link_artifacts", _columns(links))

    async def fill(self, links: Sequence[Link]) -> int:
        """Give existing links that have none their artifact and return how many got one. Of two for
        one path, the last one counts.
        """
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


def key_columns(units: Sequence[Content]) -> dict[str, list[Any]]:
    """Return the parameters of `units_of_keys`."""
    return {
        "keys": [key_id(unit) for unit in units],
        "fields": [encode_fields(unit).decode() for unit in units],
    }


def by_key(count: int, rows: Sequence[tuple[int, bytes, bool]]) -> list[list[tuple[bytes, bool]]]:
    """Return what `units_of_keys` found for each of `count` units: ids, and whether the fields are
    the same.
    """
    found: list[list[tuple[bytes, bool]]] = [[] for _ in range(count)]
    for ordinal, content_id, is_same in rows:
        found[ordinal].append((content_id, is_same))
    return found


def _known(rows: Sequence[tuple[bytes, str | None, int | None]]) -> dict[bytes, KnownLinks]:
    known: dict[bytes, KnownLinks] = {}
    for content_id, relative_path, artifact_id in rows:
        if content_id not in known:
            known[content_id] = {}
        if relative_path is not None:
            known[content_id][relative_path] = artifact_id
    return known


def _columns(links: Sequence[Link]) -> dict[str, list[Any]]:
    return {
        "content_ids": [link.content_id for link in links],
        "relative_paths": [link.relative_path for link in links],
        "artifact_ids": column(link.artifact_id for link in links),
    }


# The artifacts that are recorded: looked up by digest, saved in batches.
#
# 1. One statement answers a whole batch. `touched_at` says when an artifact was last needed, to the
#    hour; clean-up leaves alone what was needed lately. A row that was not needed lately is found
#    only once it is held: clean-up may be about to remove it, and then it is not found.
# 2. Artifacts of a batch are inserted in the order of sha256, and rows held in the order of their
#    ids, after all inserting: syncs that save or find the same ones wait for each other but never
#    deadlock.
# 3. A digest that a stored artifact lacks is added when the same bytes come with it again, so that
#    they are found by it the next time.
#
# The reasons stand in docs/decisions/0004.

_ALGORITHMS: Final = tuple(HEX_LENGTHS)
"""The digests in the order of the statements' columns."""

_OPTIONAL: Final = tuple(name for name in _ALGORITHMS if name not in {"sha256", "blake3"})
"""The digests that a stored artifact may lack."""

_TRIES: Final = 3
"""Rounds of saving a batch. The second finds what others inserted during the first; the third, what
was cleaned away in between.
"""


class Artifacts:
    """The artifacts of a catalog. Any number of tasks may use it at once.

    `locate` gives the path of the blob with a BLAKE3 name (hexadecimal), where blobs are files.
    """

    def __init__(self, database: Database, locate: Callable[[str], str | None]) -> None:
        self._database = database
        self._locate = locate

    async def find(
        self, artifacts: Sequence[Artifact], allowed: frozenset[str]
    ) -> list[StoredArtifact | None]:
        """Return for each artifact its stored counterpart, or `None` when there is none or no
        allowed digest to look for.
        """
        keys = [_key(artifact, allowed) for artifact in artifacts]
        wanted: dict[str, list[bytes]] = {algorithm: [] for algorithm in _ALGORITHMS}
        for key in set(keys):
            if key is not None:
                wanted[key[0]].append(bytes.fromhex(key[1]))
        if not any(wanted.values()):
            return [None] * len(artifacts)
        used = [algorithm for algorithm in _ALGORITHMS if wanted[algorithm]]
        found = {
            (algorithm, getattr(stored, algorithm)): stored
            for stored in map(self._stored, await self._database.fetch("find_artifacts", wanted))
            for algorithm in used
        }
        return [None if key is None else found.get(key) for key in keys]

    async def save(self, artifacts: Sequence[StagedArtifact]) -> list[StoredArtifact]:
        """Record the artifacts, whose blobs are durable, and return them as they are stored, in the
        order given.

        An artifact that is recorded already, or comes twice, is the same stored one.
        """
        pending = {str(artifact.sha256): artifact for artifact in artifacts}
        stored: dict[str, StoredArtifact] = {}
        for _ in range(_TRIES):
            rows = await self._database.fetch(
                "save_artifacts", _artifact_columns(list(pending.values()))
            )
            for artifact in map(self._stored, rows):
                stored[str(artifact.sha256)] = artifact
                del pending[str(artifact.sha256)]
            if not pending:
                await self._complete(artifacts, stored)
                return [stored[str(artifact.sha256)] for artifact in artifacts]
        sha256 = next(iter(pending))
        raise CatalogError(
            f"saving the artifact with sha256 {sha256}: its blake3 {pending[sha256].blake3} "
            "is recorded with another sha256"
        )

    async def _complete(
        self, artifacts: Sequence[StagedArtifact], stored: dict[str, StoredArtifact]
    ) -> None:
        """Record the digests that the stored artifacts lack, and put them into `stored`."""
        richer: dict[str, StoredArtifact] = {}
        for artifact in artifacts:
            sha256 = str(artifact.sha256)
            known = stored[sha256]
            lacking = {
                algorithm: getattr(artifact, algorithm)
                for algorithm in _OPTIONAL
                if getattr(artifact, algorithm) is not None and getattr(known, algorithm) is None
            }
            if lacking:
                richer[sha256] = stored[sha256] = replace(known, **lacking)
        if richer:
            await self._database.execute(
                "complete_artifacts", _artifact_columns(list(richer.values()))
            )

    def _stored(self, row: tuple[Any, ...]) -> StoredArtifact:
        number, size, sha256, sha512, sha384, sha224, sha1, md5, blake3 = row
        name = blake3.hex()
        return StoredArtifact(
            id=number,
            size=size,
            sha256=sha256.hex(),
            sha512=sha512 and sha512.hex(),
            sha384=sha384 and sha384.hex(),
            sha224=sha224 and sha224.hex(),
            sha1=sha1 and sha1.hex(),
            md5=md5 and md5.hex(),
            blake3=name,
            file=self._locate(name),
        )


def _key(artifact: Artifact, allowed: frozenset[str]) -> tuple[str, str] | None:
    for algorithm in _ALGORITHMS:
        value = getattr(artifact, algorithm)
        if value is not None and algorithm in allowed:
            return algorithm, value
    return None


def _artifact_columns(artifacts: Sequence[Artifact]) -> dict[str, list[Any]]:
    """Return the statements' parameters: one list a column."""
    sizes = [artifact.size for artifact in artifacts]
    return {"size": sizes, **digest_columns(artifacts, _ALGORITHMS)}
