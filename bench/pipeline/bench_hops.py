"""What a hop from stage to stage costs: ten stages without work, by the size of the channels and
the way the stages read and put.

"queue" is the same chain of tasks over `asyncio.Queue`, as the reference of the same run; it knows
no end, no errors and no awaited items. Items can be awaited, as those of a sync can; nobody awaits
them. Left out: making the items, and any work on them.

The figure that counts is `ns_item_hop` (median), printed with `-s` and saved with the others; the
table shows the whole run.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Sized
from flowsync.pipeline.pipeline import create_pipeline
from flowsync.pipeline.resolution import Resolvable
from flowsync.pipeline.stage import EndStage, Stage

ITEMS = 20_000
STAGES = 10
ROUNDS = 7
PIECE = 500

Items = list[Resolvable]


class PutEach(Stage):
    def __init__(self, items: Items) -> None:
        self.given = items

    async def run(self) -> None:
        for item in self.given:
            await self.put(item)


class PutPieces(PutEach):
    async def run(self) -> None:
        for start in range(0, len(self.given), PIECE):
            await self.put_all(self.given[start : start + PIECE])


class PassEach(Stage):
    async def run(self) -> None:
        async for item in self.items():
            await self.put(item)


class PassBatches(Stage):
    def __init__(self, minsize: int) -> None:
        self.minsize = minsize

    async def run(self) -> None:
        async for batch in self.batches(self.minsize):
            await self.put_all(batch)


async def pass_each(items: Items, maxsize: int) -> None:
    between = [PassEach() for _ in range(STAGES - 2)]
    await create_pipeline([PutEach(items), *between, EndStage()], maxsize)


async def pass_what_is_there(items: Items, maxsize: int) -> None:
    between = [PassBatches(1) for _ in range(STAGES - 2)]
    await create_pipeline([PutPieces(items), *between, EndStage()], maxsize)


async def pass_batches(items: Items, maxsize: int) -> None:
    between = [PassBatches(PIECE) for _ in range(STAGES - 2)]
    await create_pipeline([PutPieces(items), *between, EndStage()], maxsize)


async def pass_through_queues(items: Items, maxsize: int) -> None:
    async def put() -> None:
        for item in items:
            await queues[0].put(item)
        await queues[0].put(None)

    async def hop(source: asyncio.Queue[Resolvable | None], number: int) -> None:
        while (item := await source.get()) is not None:
            await queues[number].put(item)
        await queues[number].put(None)

    async def drain() -> None:
        while await queues[-1].get() is not None:
            pass

    queues: list[asyncio.Queue[Resolvable | None]] = [
        asyncio.Queue(maxsize) for _ in range(STAGES - 1)
    ]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(put())
        for number, source in enumerate(queues[:-1], start=1):
            tasks.create_task(hop(source, number))
        tasks.create_task(drain())


WAYS: dict[str, Callable[[Items, int], Awaitable[None]]] = {
    "queue": pass_through_queues,
    "items/put": pass_each,
    "batches(1)/put_all": pass_what_is_there,
    "batches(500)/put_all": pass_batches,
}


@pytest.mark.parametrize("maxsize", [1, 128, 1000])
@pytest.mark.parametrize("way", WAYS)
def bench_hops(benchmark: BenchmarkFixture, sized: Sized, way: str, maxsize: int) -> None:
    items = [Resolvable() for _ in range(sized(ITEMS, 1))]

    async def run() -> None:
        await WAYS[way](items, maxsize)

    benchmark.pedantic(lambda: uvloop.run(run()), rounds=1 if benchmark.disabled else ROUNDS)

    if benchmark.stats:
        nanoseconds = benchmark.stats.stats.median / len(items) / (STAGES - 1) * 1e9
        benchmark.extra_info["ns_item_hop"] = round(nanoseconds)
        print(f"{way}, channels of {maxsize}: {nanoseconds:.0f} ns an item and hop")
