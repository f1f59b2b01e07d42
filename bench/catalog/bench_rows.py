"""What a row costs in the statements of the rows floor, in batches of 500, on tables that hold 100 000 rows.

Each bench is one call of the catalog as a stage makes it: encoding the batch, the round trips, the server, decoding. The server is on the same
machine, over its socket, with durable commits. The table is in µs a batch; `-s` prints µs a row (median) and round trips, which are
also in the saved figures. Left out: other syncs at the same time, tables that do not fit into memory, a network in between.

Run once as a test, the tables hold two batches.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import ClassVar, TypeVar

import psycopg
import pytest
import uvloop
from blake3 import blake3
from psycopg.conninfo import make_conninfo
from pytest_benchmark.fixture import BenchmarkFixture

from flowsync.catalog.artifacts import Artifacts
from flowsync.catalog.contents import Contents, Link
from flowsync.catalog.database import Database
from flowsync.catalog.remotes import Remotes, Source
from flowsync.model.artifact import Artifact, StagedArtifact
from flowsync.model.content import Content, content_id
from flowsync.model.digest import DigestPolicy
from flowsync.model.remote import Remote
from tests.postgres import temporary_database

BATCH = 500
ROWS = 100_000
ROUNDS = 100
ALLOWED = DigestPolicy().allowed

T = TypeVar("T")


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
    """An open catalog with `rows` artifacts, units of both types, links and sources; every call runs on one loop."""

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


def source(world: World, number: int, mirror: str = "a") -> Source:
    return Source(
        content_id=content_id(unit(number)),
        relative_path=path(number),
        remote_id=world.remote_id,
        urls=[f"https://{mirror}.example.org/debian/{path(number)}"],
        artifact=Artifact(size=4096, sha256=sha256(number)),
    )


async def save(world: World, units: list[Unit] | list[Described], numbers: range) -> None:
    ids = {content_id(content): content for content in units}
    async with world.contents.transaction() as transaction:
        await transaction.insert(ids)
        await transaction.link(
            [
                Link(content_id=key, relative_path=path(number))
                for key, number in zip(ids, numbers, strict=True)
            ]
        )


class Bench:
    """Measures calls on a world: `prepare` makes the argument of each round, outside the clock."""

    def __init__(self, benchmark: BenchmarkFixture, world: World) -> None:
        self._benchmark = benchmark
        self._world = world

    def __call__(
        self, prepare: Callable[[], T], call: Callable[[T], Awaitable[object]], rows: int = BATCH
    ) -> None:
        async def run(argument: T) -> None:
            await call(argument)

        def setup() -> tuple[tuple[T], dict[str, object]]:
            argument = prepare()
            self._before = self._world.database.round_trips
            return (argument,), {}

        self._benchmark.pedantic(
            lambda argument: self._world.runner.run(run(argument)),
            setup=setup,
            rounds=ROUNDS,
            warmup_rounds=10 if self._benchmark.enabled else 0,
        )
        info = self._benchmark.extra_info
        info["round_trips"] = self._world.database.round_trips - self._before
        measured = self._benchmark.stats
        if measured is not None:
            info["us_per_row"] = round(measured.stats.median / rows * 1e6, 2)
            print(f"\n{self._benchmark.name}: {info}")


@pytest.fixture(scope="module")
def world(postgres: str, pytestconfig: pytest.Config) -> Iterator[World]:
    # The configuration disables benchmarks; who measures enables them.
    once = not pytestconfig.getoption("benchmark_enable")
    with temporary_database(postgres) as name:
        world = World(make_conninfo(postgres, dbname=name), 2 * BATCH if once else ROWS)
        with world.runner:
            world.runner.run(world.grow())
            yield world
            world.runner.run(world.database.close())


@pytest.fixture
def bench(benchmark: BenchmarkFixture, world: World) -> Bench:
    return Bench(benchmark, world)


def declared(numbers: range) -> list[Artifact]:
    return [Artifact(size=4096, sha256=sha256(number)) for number in numbers]


def units(numbers: range) -> dict[bytes, Content]:
    return {content_id(content): content for content in map(unit, numbers)}


def bench_find_artifacts(bench: Bench, world: World) -> None:
    bench(lambda: declared(world.old()), lambda batch: world.artifacts.find(batch, ALLOWED))


def bench_find_artifacts_unknown(bench: Bench, world: World) -> None:
    bench(lambda: declared(world.new()), lambda batch: world.artifacts.find(batch, ALLOWED))


def bench_find_artifacts_touching(bench: Bench, world: World) -> None:
    world.runner.run(world.age("artifact"))
    bench(lambda: declared(world.old()), lambda batch: world.artifacts.find(batch, ALLOWED))


def bench_save_artifacts(bench: Bench, world: World) -> None:
    bench(lambda: list(map(staged, world.new())), world.artifacts.save)


def bench_save_artifacts_known(bench: Bench, world: World) -> None:
    bench(lambda: list(map(staged, world.old())), world.artifacts.save)


def bench_find_contents(bench: Bench, world: World) -> None:
    bench(lambda: units(world.old()), world.contents.find)


def bench_find_contents_described(bench: Bench, world: World) -> None:
    def prepare() -> dict[bytes, Content]:
        return {content_id(content): content for content in map(described, world.old())}

    bench(prepare, world.contents.find)


def bench_find_contents_unknown(bench: Bench, world: World) -> None:
    bench(lambda: units(world.new()), world.contents.find)


def bench_find_contents_touching(bench: Bench, world: World) -> None:
    world.runner.run(world.age("content"))
    bench(lambda: units(world.old()), world.contents.find)


def bench_save_contents(bench: Bench, world: World) -> None:
    def prepare() -> tuple[list[Unit], range]:
        numbers = world.new()
        return [unit(number) for number in numbers], numbers

    bench(prepare, lambda batch: save(world, *batch))


def bench_fill_links(bench: Bench, world: World) -> None:
    async def fill(links: list[Link]) -> None:
        async with world.contents.transaction() as transaction:
            await transaction.fill(links)

    def prepare() -> list[Link]:
        numbers = world.old()
        stored = world.runner.run(world.artifacts.find(declared(numbers), ALLOWED))
        return [
            Link(
                content_id=content_id(unit(number)),
                relative_path=path(number),
                artifact_id=artifact.id,
            )
            for number, artifact in zip(numbers, stored, strict=True)
            if artifact is not None
        ]

    bench(prepare, fill)


def bench_save_sources_unchanged(bench: Bench, world: World) -> None:
    bench(lambda: [source(world, n) for n in world.old()], world.remotes.save_sources)


def bench_save_sources(bench: Bench, world: World) -> None:
    def prepare() -> list[Source]:
        numbers = world.new()
        world.runner.run(save(world, [unit(number) for number in numbers], numbers))
        return [source(world, number) for number in numbers]

    bench(prepare, world.remotes.save_sources)


def bench_save_sources_changed(bench: Bench, world: World) -> None:
    mirrors = count()

    def prepare() -> list[Source]:
        mirror = f"m{next(mirrors)}"
        return [source(world, number, mirror) for number in world.old()]

    bench(prepare, world.remotes.save_sources)


def bench_alternates_without_sources(bench: Bench, world: World) -> None:
    bench(lambda: declared(world.old()), lambda batch: world.remotes.alternates(batch, ALLOWED))


def bench_alternates(bench: Bench, world: World) -> None:
    world.runner.run(world.remotes.add_alternate_source("near", world.remote_id))
    bench(lambda: declared(world.old()), lambda batch: world.remotes.alternates(batch, ALLOWED))


def bench_remote_ids(bench: Bench, world: World) -> None:
    remotes = [Remote(name="r", url="http://localhost/")]
    bench(lambda: remotes, world.remotes.ids, rows=1)
