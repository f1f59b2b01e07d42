"""The rows that the catalog is measured with: units, artifacts and sources made from numbers, and a
database that holds many of them.
"""

import asyncio
import hashlib
from itertools import count
from typing import ClassVar

import psycopg
import uvloop
from blake3 import blake3

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.records.contents import Artifacts, Contents, Link
from flowsync.catalog.records.remotes import RecordedSource, Remotes
from flowsync.model.artifact import Artifact, DigestPolicy, StagedArtifact
from flowsync.model.content import Content, key_id
from flowsync.model.remote import Remote

BATCH = 500
ALLOWED = DigestPolicy().allowed


class Unit(Content):
    """A unit that its key determines, such as a file."""

    type_name: ClassVar[str] = "bench.unit"
    natural_key: ClassVar[tuple[str, ...]] = ("relative_path", "sha256")
    repo_key: ClassVar[tuple[str, ...]] = ("relative_path",)
    relative_path: str
    sha256: str


class Described(Content):
    """A unit with fields beyond its key, such as a package."""

    type_name: ClassVar[str] = "bench.described"
    natural_key: ClassVar[tuple[str, ...]] = ("sha256",)
    sha256: str
    name: str
    summary: str
    requires: list[str]


class World:
    """An open catalog with `rows` artifacts, units of both types, links and sources; every call
    runs on one loop.
    """

    def __init__(self, conninfo: str, rows: int) -> None:
        self.rows = rows
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.database = Database(conninfo)
        self.artifacts = Artifacts(self.database, lambda name: f"/blobs/{name[:2]}/{name[2:]}")
        self.contents = Contents(self.database)
        self.remotes = Remotes(self.database)
        self.remote_id = 0
        self._next = count(0)

    def new(self) -> range:
        """Return the numbers of a batch that nobody used before."""
        start = next(self._next) * BATCH
        return range(start, start + BATCH)

    async def grow(self) -> None:
        """Fill the tables, on-demand: links without artifacts."""
        await self.database.open()
        self.remote_id = (await self.remotes.ids([Remote(name="r", url="http://localhost/")]))["r"]
        for _ in range(self.rows // BATCH):
            numbers = self.new()
            await self.artifacts.save([staged(number) for number in numbers])
            await save(self, [unit(number) for number in numbers], numbers)
            await save(self, [described(number) for number in numbers], numbers)
            await self.remotes.save_sources([source(self, number) for number in numbers])
        async with self.database.connection() as connection:
            await connection.execute("VACUUM ANALYZE")
            await connection.execute("CHECKPOINT")

    async def age(self, table: str) -> None:
        """Let all rows of a table be last needed long ago."""
        async with self.database.connection() as connection:
            await connection.execute(
                psycopg.sql.SQL("UPDATE {} SET touched_at = '2000-01-01'").format(
                    psycopg.sql.Identifier(table)
                )
            )

    def old(self) -> range:
        """Return the numbers of a batch that is recorded; another one each time."""
        start = (next(self._next) * BATCH * 7919) % self.rows
        return range(start, start + BATCH)


def sha256(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def path(number: int) -> str:
    return f"pool/main/p/package-{number % 1000}/package-{number % 1000}_1.{number}-1_amd64.deb"


def staged(number: int) -> StagedArtifact:
    return StagedArtifact(
        size=4096, sha256=sha256(number), blake3=blake3(b"%d" % number).hexdigest(), body=b""
    )


def unit(number: int) -> Unit:
    return Unit(relative_path=path(number), sha256=sha256(number))


def described(number: int) -> Described:
    return Described(
        sha256=sha256(number),
        name=f"package-{number}",
        summary="A package that is described in a sentence of average length, as most are",
        requires=["libc6 (>= 2.34)", "libgcc-s1 (>= 3.0)", "libstdc++6 (>= 11)", "zlib1g"],
    )


def source(world: World, number: int, mirror: str = "a") -> RecordedSource:
    return RecordedSource(
        content_id=key_id(unit(number)),
        relative_path=path(number),
        remote_id=world.remote_id,
        urls=[f"https://{mirror}.example.org/debian/{path(number)}"],
        artifact=Artifact(size=4096, sha256=sha256(number)),
    )


async def save(world: World, units: list[Unit] | list[Described], numbers: range) -> None:
    ids = {key_id(content): content for content in units}
    async with world.contents.transaction() as transaction:
        await transaction.insert(ids)
        await transaction.link(
            [
                Link(content_id=key, relative_path=path(number))
                for key, number in zip(ids, numbers, strict=True)
            ]
        )


def declared(numbers: range) -> list[Artifact]:
    return [Artifact(size=4096, sha256=sha256(number)) for number in numbers]


def units(numbers: range) -> dict[bytes, Content]:
    return {key_id(content): content for content in map(unit, numbers)}
