"""What a stage remembers of the items that it waits for."""

import gc
import weakref

from flowsync import Stage, create_pipeline
from flowsync.pipeline.resolution import Resolvable
from flowsync.pipeline.stage import EndStage


class Resolver(Stage):
    """Resolves what comes, in large batches."""

    async def run(self) -> None:
        async for batch in self.batches(500):
            for item in batch:
                item.resolve()
            await self.put_all(batch)


async def test_items_that_are_settled_are_not_held() -> None:
    """Of a hundred thousand some thousands are, as many as are under way."""
    alive: weakref.WeakSet[Resolvable] = weakref.WeakSet()
    most = 0

    class Item(Resolvable):
        pass

    class Many(Stage):
        async def run(self) -> None:
            nonlocal most
            async with self.settling() as settled:
                for number in range(100_000):
                    item = Item()
                    alive.add(item)
                    await self.put(item)
                    if number % 5000 == 0:
                        most = max(most, len(alive))
            assert settled.left_out == []
            gc.collect()

    await create_pipeline([Many(), Resolver(), EndStage()], maxsize=1000)

    assert most < 20_000


async def test_it_waits_for_batches_that_only_it_could_fill() -> None:
    ended = []

    class Few(Stage):
        async def run(self) -> None:
            items = [Resolvable() for _ in range(3)]
            async with self.settling():
                await self.put_all(items)
            ended.append(all(item.resolved for item in items))

    await create_pipeline([Few(), Resolver(), Resolver(), EndStage()], maxsize=10)

    assert ended == [True]
