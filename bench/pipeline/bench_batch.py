"""What batches cost: collecting items into a batch, and releasing batches early because somebody
awaits an item in them.

"collect" is the buffer alone: items come in pieces, it waits between them as a stage would, and is
released when it is full. "awaited" is a pipeline of three batching stages in front of a resolver
and one behind it, whose first stage awaits every item at once, all of them late, or none. Left out:
the work that a stage does on a batch, which is what small batches make dear.

The figure that counts is `ns_item` (median), printed with `-s` and saved with the others; the table
shows the whole run.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Sized
from flowsync.pipeline.channel import BatchBuffer
from flowsync.pipeline.pipeline import create_pipeline
from flowsync.pipeline.resolution import Resolvable
from flowsync.pipeline.stage import EndStage, Stage

ITEMS = 20_000
ROUNDS = 7
BATCH = 500

Items = list[Resolvable]


def wake() -> None:
    """Stand for the stage that waits."""


def collect(items: Items, piece: int) -> int:
    """Return how many batches the items made."""
    buffer: BatchBuffer[Resolvable] = BatchBuffer(BATCH)
    batches = 0
    for start in range(0, len(items), piece):
        buffer.extend(items[start : start + piece])
        if buffer.due(ended=False, pressed=False):
            buffer.release()
            batches += 1
        else:
            buffer.arm(wake)
    return batches


class AwaitNone(Stage):
    def __init__(self, items: Items) -> None:
        self.given = items

    async def run(self) -> None:
        await self.put_all(self.given)


class AwaitEach(AwaitNone):
    async def run(self) -> None:
        for item in self.given:
            await self.put(item)
            await item.resolution()


class AwaitLate(AwaitNone):
    async def run(self) -> None:
        await self.put_all(self.given)
        await asyncio.gather(*(item.resolution() for item in self.given))


class Batches(Stage):
    async def run(self) -> None:
        async for batch in self.batches(BATCH):
            await self.put_all(batch)


class Resolve(Stage):
    async def run(self) -> None:
        async for batch in self.batches(1):
            for item in batch:
                item.resolve()
            await self.put_all(batch)


FIRST: dict[str, Callable[[Items], Stage]] = {
    "none": AwaitNone,
    "late": AwaitLate,
    "each at once": AwaitEach,
}


@pytest.mark.parametrize("piece", [1, 20, 500])
def bench_collect(benchmark: BenchmarkFixture, piece: int) -> None:
    items = [Resolvable() for _ in range(1 if benchmark.disabled else ITEMS)]

    batches = benchmark.pedantic(
        collect, (items, piece), rounds=1 if benchmark.disabled else ROUNDS
    )

    assert batches == len(items) // BATCH
    tell(benchmark, f"collected in pieces of {piece}", len(items))


@pytest.mark.parametrize("first", FIRST)
def bench_awaited(benchmark: BenchmarkFixture, sized: Sized, first: str) -> None:
    count = sized(ITEMS, 1)

    def make() -> tuple[tuple[Awaitable[None]], dict[str, object]]:
        stages = [FIRST[first]([Resolvable() for _ in range(count)])]
        stages += [Batches(), Batches(), Batches(), Resolve(), Batches(), EndStage()]
        return (create_pipeline(stages, 1000),), {}

    benchmark.pedantic(uvloop.run, setup=make, rounds=1 if benchmark.disabled else ROUNDS)

    tell(benchmark, f"awaited: {first}", count)


def tell(benchmark: BenchmarkFixture, scenario: str, count: int) -> None:
    if benchmark.stats:
        nanoseconds = benchmark.stats.stats.median / count * 1e9
        benchmark.extra_info["ns_item"] = round(nanoseconds)
        print(f"{scenario}: {nanoseconds:.0f} ns an item")
