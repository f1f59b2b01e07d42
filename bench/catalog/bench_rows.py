"""What a row costs in the statements of the rows floor, in batches of 500, on tables that hold 100
000 rows.

Each bench is one call of the catalog as a stage makes it: encoding the batch, the round trips, the
server, decoding. The server is on the same machine, over its socket, with durable commits. The
table is in µs a batch; `-s` prints µs a row (median) and round trips, which are also in the saved
figures. Left out: other syncs at the same time, tables that do not fit into memory, a network in
between.

Run once as a test, the tables hold two batches.
"""

from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import TypeVar

import pytest
from psycopg.conninfo import make_conninfo
from pytest_benchmark.fixture import BenchmarkFixture

from bench.catalog.rows import (
    ALLOWED,
    BATCH,
    Unit,
    World,
    declared,
    described,
    path,
    save,
    source,
    staged,
    unit,
    units,
)
from bench.conftest import Sized
from flowsync.catalog.records.contents import Link
from flowsync.catalog.records.remotes import RecordedSource
from flowsync.model.content import Content, key_id
from flowsync.model.remote import Remote
from tests.postgres import temporary_database

ROWS = 100_000
ROUNDS = 100

T = TypeVar("T")


class Bench:
    """Measures calls on a world: `prepare` makes the argument of each round, outside the clock."""

    def __init__(self, benchmark: BenchmarkFixture, world: World, rounds: int) -> None:
        self._benchmark = benchmark
        self._world = world
        self._rounds = rounds

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
            rounds=self._rounds,
            warmup_rounds=10 if self._benchmark.enabled else 0,
        )
        info = self._benchmark.extra_info
        info["round_trips"] = self._world.database.round_trips - self._before
        measured = self._benchmark.stats
        if measured is not None:
            info["us_per_row"] = round(measured.stats.median / rows * 1e6, 2)
            print(f"\n{self._benchmark.name}: {info}")


@pytest.fixture(scope="module")
def world(postgres: str, sized: Sized) -> Iterator[World]:
    rows = sized(ROWS // BATCH, 2) * BATCH
    with temporary_database(postgres) as name:
        world = World(make_conninfo(postgres, dbname=name), rows)
        with world.runner:
            world.runner.run(world.grow())
            yield world
            world.runner.run(world.database.close())


@pytest.fixture
def bench(benchmark: BenchmarkFixture, world: World, sized: Sized) -> Bench:
    return Bench(benchmark, world, sized(ROUNDS, 1))


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
        return {key_id(content): content for content in map(described, world.old())}

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
                content_id=key_id(unit(number)),
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
    def prepare() -> list[RecordedSource]:
        numbers = world.new()
        world.runner.run(save(world, [unit(number) for number in numbers], numbers))
        return [source(world, number) for number in numbers]

    bench(prepare, world.remotes.save_sources)


def bench_save_sources_changed(bench: Bench, world: World) -> None:
    mirrors = count()

    def prepare() -> list[RecordedSource]:
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
