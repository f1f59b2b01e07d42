"""The wire that runs backwards through a whole pipeline: awaited items, dropped items, stalls."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from flowsync.errors import ItemDroppedError, PipelineStalledError
from flowsync.pipeline.pipeline import create_pipeline
from flowsync.pipeline.stage import EndStage, Stage
from tests.unit.pipeline.actors import (
    Batch,
    Collect,
    Drop,
    Fail,
    Feed,
    Pass,
    Resolve,
    Unit,
    turns,
    until,
)

Start = Callable[..., asyncio.Task[Any]]

SOON = 0.05
"""Seconds after which a pipeline counts as stalled here."""


class OneByOne(Stage):
    """Awaits each unit before it puts the next."""

    def __init__(self, count: int) -> None:
        self.units = [Unit(number) for number in range(count)]
        self.found: list[Any] = []

    async def run(self) -> None:
        for unit in self.units:
            await self.put(unit)
            self.found.append(await unit.resolution())


class Late(OneByOne):
    """Puts all units first and awaits them later."""

    async def run(self) -> None:
        await self.put_all(self.units)
        self.found = await asyncio.gather(*(unit.resolution() for unit in self.units))


class Stuck(Stage):
    """Reads nothing and never ends by itself."""

    async def run(self) -> None:
        await asyncio.Event().wait()


async def test_awaiting_each_item_in_turn_passes_every_buffer() -> None:
    """Behind the resolver the batches are normal again: they held one or two items,
    and a sync took five times as long.
    """
    first = OneByOne(20)
    one, two, behind = Batch(10), Batch(10), Batch(10)

    await create_pipeline([first, one, two, Resolve(), behind, EndStage()])

    assert first.found == first.units
    assert one.sizes == [1] * 20
    assert two.sizes == [1] * 20
    assert behind.sizes == [10, 10]


async def test_awaiting_late_keeps_the_batches() -> None:
    first = Late(20)
    one, two, behind = Batch(10), Batch(10), Batch(10)

    await create_pipeline([first, one, two, Resolve(), behind, EndStage()])

    assert first.found == first.units
    assert one.sizes == [10, 10]
    assert behind.sizes == [10, 10]


async def test_awaited_item_takes_the_whole_batch_with_it(start: Start) -> None:
    units = [Unit(number) for number in range(4)]
    gate = asyncio.Event()

    class Waits(Feed):
        async def run(self) -> None:
            await super().run()
            await gate.wait()

    batch, end = Batch(10), Collect()
    running = start(create_pipeline([Waits(units), batch, end]))
    await turns(20)
    rested = list(end.found)

    start(units[1].resolution())
    await until(lambda: end.found == units)

    assert rested == []
    assert batch.sizes == [4]
    gate.set()
    await running


async def test_downloaded_content_brings_new_content() -> None:
    """The loop that the document describes: content from the end leads to more at the beginning."""

    class Fans(Stage):
        async def run(self) -> None:
            index = Unit("index")
            await self.put(index)
            await index.resolution()
            await self.put_all([Unit("a"), Unit("b")])

    end = Collect()

    await create_pipeline([Fans(), Batch(500), Resolve(), end])

    assert [unit.name for unit in end.found] == ["index", "a", "b"]


async def test_dropped_item_that_was_resolved_holds_nobody_up() -> None:
    class Drops(Stage):
        async def run(self) -> None:
            async for item in self.items():
                item.resolve()

    first = OneByOne(3)

    await create_pipeline([first, Batch(10), Drops(), EndStage()])

    assert first.found == first.units


async def test_waiter_that_times_out_does_not_harm_the_pipeline() -> None:
    """The resolver failed with an InvalidStateError, and with it the pipeline."""

    class Impatient(Stage):
        def __init__(self, unit: Unit) -> None:
            self.unit = unit

        async def run(self) -> None:
            await self.put(self.unit)
            with suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await self.unit.resolution()
            await self.put(Unit("next"))

    unit, end = Unit("first"), Collect()

    await create_pipeline([Impatient(unit), Batch(500), Resolve(), end])

    assert [item.name for item in end.found] == ["first", "next"]
    assert await unit.resolution() is unit


async def test_waiter_outside_is_told_at_the_end_that_its_item_was_dropped(start: Start) -> None:
    """It waited for ever."""
    unit = Unit("lost")
    waiter = start(unit.resolution())
    await turns(1)

    await create_pipeline([Feed([unit]), Drop(), EndStage()])

    with pytest.raises(ItemDroppedError, match="unit lost will never be resolved: no stage"):
        await waiter


async def test_waiter_outside_is_told_what_the_pipeline_failed_of(start: Start) -> None:
    """It waited for ever."""
    unit, error = Unit("lost"), ValueError("broken")
    waiter = start(unit.resolution())
    await turns(1)

    with pytest.raises(ValueError, match="broken"):
        await create_pipeline([Feed([unit]), Fail(error), EndStage()])

    with pytest.raises(ItemDroppedError, match="the pipeline failed: ValueError") as raised:
        await waiter
    assert raised.value.__cause__ is error


async def test_waiter_outside_is_told_that_the_pipeline_was_cancelled(start: Start) -> None:
    unit = Unit("lost")
    waiter = start(unit.resolution())
    running = start(create_pipeline([Feed([unit, Unit("more")]), Stuck()]))
    await turns(10)

    running.cancel()

    with pytest.raises(ItemDroppedError, match="the pipeline was cancelled"):
        await waiter
    assert running.cancelled()


async def test_waiter_inside_is_cancelled_when_the_pipeline_fails() -> None:
    first = OneByOne(2)

    with pytest.raises(ValueError, match="broken"):
        await create_pipeline([first, Fail(ValueError("broken")), EndStage()])

    assert first.found == []
    assert not first.units[0].awaited


@pytest.mark.parametrize("first", [OneByOne, Late])
async def test_first_stage_that_awaits_a_dropped_item_stalls_the_pipeline(
    first: type[OneByOne],
) -> None:
    """It waited for ever."""
    with pytest.raises(PipelineStalledError, match=r"nothing moved for 0\.05 s") as raised:
        await create_pipeline(
            [first(3), Batch(10), Drop(), Resolve(), EndStage()], stall_timeout=SOON
        )

    assert "a task awaits unit 0" in str(raised.value)
    assert "dropped without calling resolve()" in str(raised.value)


@pytest.mark.parametrize("maxsize", [3, 20])
async def test_stage_that_awaits_an_item_it_has_not_read_yet_stalls_the_pipeline(
    maxsize: int,
) -> None:
    """It waited for ever, and with small channels those in front of it for room."""
    units = [Unit(number) for number in range(9)]

    class Ahead(Stage):
        async def run(self) -> None:
            async for item in self.items():
                await units[8].resolution()
                await self.put(item)

    with pytest.raises(PipelineStalledError, match="a task awaits unit 8"):
        await create_pipeline(
            [Feed(units), Pass(), Ahead(), Resolve(), EndStage()], maxsize, stall_timeout=SOON
        )


async def test_stage_behind_the_resolver_that_awaits_a_dropped_item_stalls_the_pipeline() -> None:
    """It waited for ever."""
    lost, arrives = Unit("lost"), Unit("arrives")

    class Behind(Stage):
        async def run(self) -> None:
            async for _ in self.items():
                await lost.resolution()

    with pytest.raises(PipelineStalledError, match="a task awaits unit lost"):
        await create_pipeline(
            [Feed([lost, arrives]), Drop(lambda item: item is arrives), Resolve(), Behind()],
            stall_timeout=SOON,
        )


async def test_item_in_the_hands_of_a_child_task_is_no_stall() -> None:
    class Works(Stage):
        async def run(self) -> None:
            async with asyncio.TaskGroup() as children:
                async for item in self.items():
                    children.create_task(self.handle(item))

        async def handle(self, item: Unit) -> None:
            with self.working():
                # The work itself: it takes several times as long as the watch allows.
                await asyncio.sleep(4 * SOON)
                await self.put(item)

    first = OneByOne(1)

    await create_pipeline([first, Works(), Resolve(), EndStage()], stall_timeout=SOON)

    assert first.found == first.units


async def test_stage_that_works_long_on_an_awaited_item_is_no_stall() -> None:
    class Works(Stage):
        async def run(self) -> None:
            async for item in self.items():
                await asyncio.sleep(4 * SOON)
                await self.put(item)

    first = OneByOne(1)

    await create_pipeline([first, Works(), Resolve(), EndStage()], stall_timeout=SOON)

    assert first.found == first.units


async def test_pipeline_that_still_moves_is_not_stalled(start: Start) -> None:
    class Steady(Stage):
        async def run(self) -> None:
            await self.put(lost)
            for number in range(8):
                await asyncio.sleep(SOON / 2)
                await self.put(Unit(number))

    lost, end = Unit("lost"), Collect()
    start(lost.resolution())

    await create_pipeline(
        [Steady(), Drop(lambda item: item is not lost), end], stall_timeout=2 * SOON
    )

    assert [unit.name for unit in end.found] == [0, 1, 2, 3, 4, 5, 6, 7]


async def test_slow_first_stage_is_no_stall_while_nobody_waits() -> None:
    """A waiter that gave up is nobody."""

    class Slow(Stage):
        async def run(self) -> None:
            unit = Unit("lost")
            await self.put(unit)
            with suppress(TimeoutError):
                async with asyncio.timeout(SOON / 5):
                    await unit.resolution()
            await asyncio.sleep(4 * SOON)
            await self.put(Unit("next"))

    end = Collect()

    await create_pipeline([Slow(), Drop(lambda item: item.name == "next"), end], stall_timeout=SOON)

    assert [unit.name for unit in end.found] == ["next"]


async def test_first_stage_that_says_it_works_is_no_stall(start: Start) -> None:
    """Someone outside awaits an item that was dropped; the pipeline itself is only slow."""

    class Slow(Stage):
        async def run(self) -> None:
            await self.put(lost)
            with self.working():
                await asyncio.sleep(4 * SOON)
            await self.put(Unit("next"))

    lost, end = Unit("lost"), Collect()
    waiter = start(lost.resolution())

    await create_pipeline([Slow(), Drop(lambda item: item is not lost), end], stall_timeout=SOON)

    assert [unit.name for unit in end.found] == ["next"]
    with pytest.raises(ItemDroppedError):
        await waiter


async def test_stall_is_not_watched_for_when_it_is_switched_off(start: Start) -> None:
    running = start(create_pipeline([OneByOne(1), Drop(), EndStage()], stall_timeout=None))
    await turns(50)

    still_running = not running.done()
    running.cancel()
    await asyncio.wait([running])

    assert still_running
