"""The release of stored bytes: links of a repository's versions become what they would be had the
bytes never been fetched.

The rules by which a running sync keeps what it found are those of `orphans.py`, with no protection
time: while no version is in the making, all may go that the versions allow; while one is, nothing
that was touched since an hour before it began.

Links are held before their artifacts, as syncs do. Then the artifacts are judged once more, and
none can gain a link any more.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.sessions import Connection
from flowsync.catalog.upkeep.orphans import Blob, removal
from flowsync.catalog.versions.lookup import find_version

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
