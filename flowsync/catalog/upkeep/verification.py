"""Which stored bytes are to be verified, when they last were, and where they can be had again.

1. A job goes through a plan: a temporary table of artifacts in the order in which they were last
   verified, made once, read in windows. Memory does not grow with it, no snapshot is kept open
   while bytes are read for days, and what is verified meanwhile does not change the order.
2. A job that was interrupted is continued by another one: what the first one did is the last of the
   second one's plan.
3. Storing counts as verifying, because nothing is stored unverified.

Decisions: docs/decisions/0004.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import msgspec

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.sessions import Connection
from flowsync.catalog.records.remotes import decode_headers
from flowsync.catalog.versions.versions import find_version

WINDOW: Final = 256
"""Artifacts a window: enough to keep hash workers busy, few enough to lose when a job is killed."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What a blob must be: its size in bytes and its digests in hexadecimal; and the id of its
    artifact.
    """

    id: int
    size: int
    sha256: str
    blake3: str


class ArtifactUse(msgspec.Struct, frozen=True):
    """A path at which an artifact stands, and a repository that has it there; `None` where there is
    none.
    """

    relative_path: str | None
    repository: str | None


class KnownSource(msgspec.Struct, frozen=True):
    """URLs at which a remote is said to have the bytes of an artifact, and the headers to
    ask with.
    """

    remote: str
    urls: list[str]
    headers: dict[str, str] = {}


class VerificationOrder:
    """The artifacts that one job goes through; made by `Verification.plan`. `count` is their
    number, `size` their bytes.
    """

    def __init__(self, database: Database, connection: Connection, count: int, size: int) -> None:
        self.count = count
        self.size = size
        self._database = database
        self._connection = connection

    async def windows(self) -> AsyncGenerator[list[Stored], None]:
        """Yield the artifacts, some at a time. One that is removed meanwhile may be missing."""
        for after in range(0, self.count, WINDOW):
            params = {"after": after, "up_to": after + WINDOW}
            cursor = await self._database.run(self._connection, "next_planned", params)
            yield [
                Stored(id=number, size=size, sha256=sha256.hex(), blake3=blake3.hex())
                for number, size, sha256, blake3 in await cursor.fetchall()
            ]


class Verification:
    """The verification records of one database; part of its `Catalog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def plan(self, repository: str | None = None) -> AsyncIterator[VerificationOrder]:
        """Plan to go through all artifacts, or those of all versions of a repository, for as long
        as the block runs.

        Raise `RepositoryNotFoundError` when there is no such repository.
        """
        if repository is not None:
            await find_version(self._database, repository)
        run = self._database.run
        async with self._database.dedicated() as connection:
            await run(connection, "create_planned")
            if repository is None:
                await run(connection, "plan_all")
            else:
                await run(connection, "plan_repository", {"repository": repository})
            await run(connection, "analyze_planned")
            cursor = await run(connection, "measure_planned")
            ((count, size),) = await cursor.fetchall()
            yield VerificationOrder(self._database, connection, count, size)

    async def mark(self, ids: Sequence[int]) -> None:
        """Note that the bytes of the artifacts are right."""
        await self._database.execute("mark_verified", {"ids": list(ids)})

    async def recorded(self, ids: Sequence[int]) -> set[int]:
        """Return those of the artifacts that are recorded."""
        rows = await self._database.fetch("recorded_artifacts", {"ids": list(ids)})
        return {number for (number,) in rows}

    async def oldest(self) -> tuple[datetime | None, int]:
        """Return when the bytes that were verified longest ago were verified, and how many
        artifacts never were.
        """
        row = await self._database.fetch_one("oldest_verification")
        assert row is not None
        return row[0], row[1]

    async def places(self, ids: Sequence[int]) -> dict[int, ArtifactUse]:
        """Return for each artifact that has a link a place where it stands."""
        rows = await self._database.fetch("places_of_artifacts", {"ids": list(ids)})
        return {number: ArtifactUse(path, repository) for number, path, repository in rows}

    async def origins(self, ids: Sequence[int]) -> dict[int, list[KnownSource]]:
        """Return for each artifact where its bytes are said to be, in the order in which to try."""
        found: dict[int, list[KnownSource]] = {}
        rows = await self._database.fetch("sources_of_artifacts", {"ids": list(ids)})
        for number, remote, urls, headers in rows:
            found.setdefault(number, []).append(KnownSource(remote, urls, decode_headers(headers)))
        return found
