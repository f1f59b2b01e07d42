"""What a unit costs in the making of a version of 100 000 units, and in reading it back, in batches
of 500.

Each bench of a sync is all that it asks of the versions floor: opening, associating every unit as a
mirror does, removing what was not seen, checking, completing. `us_per_unit` is the median of that
over the units; `associate_us` and `end_us` are the parts before and after the end of the stream, in
the last round. The server is on the same machine, over its socket, with durable commits. The order
of the units is random, and tables are never analysed: a first sync finds them so, and a planner
that knows nothing must not make its end quadratic. Left out: other syncs at the same time, tables
that do not fit into memory, a network in between.

Run once as a test (`--benchmark-disable`) there are 2 000 units.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count
from typing import ClassVar

import pytest
import uvloop
from psycopg.conninfo import make_conninfo
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Sized
from flowsync.catalog.postgres.database import Database
from flowsync.catalog.records.contents import Contents, Link
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.catalog.versions.repositories import Repositories
from flowsync.model.content import Content, key_id
from flowsync.model.repository import Repository
from tests.postgres import temporary_database

BATCH = 500
UNITS = 100_000
FEW_UNITS = 2_000
ROUNDS = 5


class File(Content):
    """A file, of which a version has one a path."""

    type_name: ClassVar[str] = "bench.file"
    natural_key: ClassVar[tuple[str, ...]] = ("relative_path", "sha256")
    repo_key: ClassVar[tuple[str, ...]] = ("relative_path",)
    relative_path: str
    sha256: str


class World:
    """An open catalog with the units of a stream, and another body for one in a hundred of their
    paths; all calls run on one loop.
    """

    def __init__(self, conninfo: str, units: int) -> None:
        self.units = units
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.database = Database(conninfo)
        self.repositories = Repositories(self.database)
        self.stream: list[bytes] = []
        self.changed: list[bytes] = []
        self.parts: dict[str, float] = {}
        self._names = count()

    async def grow(self) -> None:
        """Fill the tables."""
        await self.database.open()
        async with self.database.connection() as connection:
            for table in (b"content", b"content_artifact", b"repository_content"):
                await connection.execute(
                    b"ALTER TABLE " + table + b" SET (autovacuum_enabled = off)"
                )
        self.stream = await self._save("one", range(self.units))
        self.changed = await self._save("two", range(self.units // 100))

    async def sync(self, name: str, stream: Sequence[bytes]) -> NewVersion:
        """Do what a mirror sync of `stream` does to versions of the repository."""
        began = time.perf_counter()
        async with self.repositories.new_version(Repository(name=name)) as version:
            for start in range(0, len(stream), BATCH):
                await version.associate(stream[start : start + BATCH], seen=True)
            associated = time.perf_counter()
            await version.remove_unseen()
        ended = time.perf_counter()
        self.parts["associate_us"] = (associated - began) / self.units * 1e6
        self.parts["end_us"] = (ended - associated) / self.units * 1e6
        return version

    def new_name(self) -> str:
        """Return the name of a repository that does not exist yet."""
        return f"r{next(self._names)}"

    def filled(self) -> str:
        """Return the name of a new repository whose latest version holds the stream."""
        name = self.new_name()
        self.runner.run(self.sync(name, self.stream))
        return name

    async def _save(self, body: str, numbers: range) -> list[bytes]:
        saved: list[bytes] = []
        for start in range(numbers.start, numbers.stop, BATCH):
            paths = [path(number) for number in range(start, min(start + BATCH, numbers.stop))]
            units = {
                key_id(unit): unit for unit in (File(relative_path=p, sha256=body) for p in paths)
            }
            links = [
                Link(content_id=key, relative_path=p) for key, p in zip(units, paths, strict=True)
            ]
            async with Contents(self.database).transaction() as transaction:
                await transaction.insert(units)
                await transaction.link(links)
            saved += units
        return saved


def path(number: int) -> str:
    package = f"package-{hashlib.md5(b'%d' % number).digest()[0]}"
    return f"pool/main/p/{package}/{package}_1.{number}-1_amd64.deb"


class Bench:
    """Measures calls on a world: `prepare` makes the argument of each round, outside the clock."""

    def __init__(self, benchmark: BenchmarkFixture, world: World) -> None:
        self._benchmark = benchmark
        self._world = world

    def __call__(
        self, prepare: Callable[[], str], call: Callable[[str], Awaitable[object]]
    ) -> None:
        async def run(name: str) -> None:
            await call(name)

        def setup() -> tuple[tuple[str], dict[str, object]]:
            name = prepare()
            self._world.parts.clear()
            return (name,), {}

        self._benchmark.pedantic(
            lambda name: self._world.runner.run(run(name)),
            setup=setup,
            rounds=ROUNDS if self._benchmark.enabled else 1,
        )
        info = self._benchmark.extra_info
        info.update({part: round(value, 2) for part, value in self._world.parts.items()})
        if self._benchmark.stats is not None:
            median = self._benchmark.stats.stats.median
            info["us_per_unit"] = round(median / self._world.units * 1e6, 2)


@pytest.fixture(scope="module")
def world(postgres: str, sized: Sized) -> Iterator[World]:
    with temporary_database(postgres) as name:
        world = World(make_conninfo(postgres, dbname=name), sized(UNITS, FEW_UNITS))
        with world.runner:
            world.runner.run(world.grow())
            yield world
            world.runner.run(world.database.close())


@pytest.fixture
def bench(benchmark: BenchmarkFixture, world: World) -> Bench:
    return Bench(benchmark, world)


def bench_first_sync(bench: Bench, world: World) -> None:
    async def sync(name: str) -> None:
        version = await world.sync(name, world.stream)
        assert version.completed is not None
        assert version.completed.added == world.units

    bench(world.new_name, sync)


def bench_sync_of_nothing_new(bench: Bench, world: World) -> None:
    name = world.filled()

    async def sync(name: str) -> None:
        version = await world.sync(name, world.stream)
        assert version.completed is None

    bench(lambda: name, sync)


def bench_sync_of_one_in_a_hundred_changed(bench: Bench, world: World) -> None:
    changed = world.changed + world.stream[len(world.changed) :]

    async def sync(name: str) -> None:
        version = await world.sync(name, changed)
        assert version.completed is not None
        assert version.completed.added == version.completed.removed == world.units // 100

    bench(world.filled, sync)


def bench_sync_of_nothing_left(bench: Bench, world: World) -> None:
    async def sync(name: str) -> None:
        version = await world.sync(name, [])
        assert version.completed is not None
        assert version.completed.removed == world.units

    bench(world.filled, sync)


def bench_entries(bench: Bench, world: World) -> None:
    name = world.filled()

    async def read(name: str) -> None:
        assert sum([len(batch) async for batch in world.repositories.entries(name)]) == world.units

    bench(lambda: name, read)


def bench_difference_of_all(bench: Bench, world: World) -> None:
    name = world.filled()

    async def read(name: str) -> None:
        batches = world.repositories.difference(name, 0, 1)
        assert sum([len(batch) async for batch in batches]) == world.units

    bench(lambda: name, read)
