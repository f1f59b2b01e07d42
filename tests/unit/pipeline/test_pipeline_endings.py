"""How a stage may end: by returning, by an error, or because its pipeline cancelled it; everything
else is told, and ends everything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

import pytest

from flowsync.errors import (
    ItemDroppedError,
    PipelineError,
    PipelineStalledError,
    StageAbortedError,
    StageEndedEarlyError,
)
from flowsync.pipeline.pipeline import Pipeline, create_pipeline
from flowsync.pipeline.stage import EndStage, Stage
from flowsync.runtime.tasks import task_group
from tests.unit.pipeline.actors import (
    CleanUp,
    Collect,
    Drop,
    Fail,
    Feed,
    Pass,
    Resolve,
    Unit,
    turns,
)

Start = Callable[..., asyncio.Task[Any]]

SOON = 0.05
"""Seconds after which a pipeline counts as stalled here."""

HANGS = 5
"""Seconds after which a pipeline that should have ended is given up."""


class Does(Stage):
    """Does what it is given, then hands everything on."""

    def __init__(self, work: Callable[[Stage], Awaitable[Any]]) -> None:
        self.work = work

    async def run(self) -> None:
        await self.work(self)
        async for item in self.items():
            await self.put(item)


async def cancel_a_child_and_await_it(stage: Stage) -> None:
    child = asyncio.create_task(asyncio.sleep(60))
    await turns(1)
    child.cancel()
    await child


async def cancel_itself(stage: Stage) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await turns(1)


async def await_a_cancelled_future(stage: Stage) -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def in_a_task_group(stage: Stage) -> None:
    async with task_group() as group:
        group.create_task(cancel_a_child_and_await_it(stage))


@pytest.mark.parametrize(
    "work", [cancel_a_child_and_await_it, cancel_itself, await_a_cancelled_future, in_a_task_group]
)
@pytest.mark.parametrize("first", [True, False])
async def test_cancellation_that_nobody_asked_for_is_an_error_that_names_the_stage(
    work: Callable[[Stage], Awaitable[Any]], first: bool
) -> None:
    """The stage counted as ended, its channel stayed open, and the pipeline waited for ever."""

    class Begins(Does):
        async def run(self) -> None:
            await self.work(self)

    aside = CleanUp()
    stages = [Begins(work), aside] if first else [Feed(range(9)), Does(work), aside]

    async with asyncio.timeout(HANGS):
        with pytest.raises(StageAbortedError, match="CancelledError came out of") as raised:
            await create_pipeline([*stages, EndStage()])

    assert any("Begins" in note or "Does" in note for note in raised.value.__notes__)
    assert aside.cleaned


async def test_task_that_its_group_has_cancelled_is_no_error() -> None:
    async with task_group() as group:
        child = group.create_task(asyncio.sleep(60))
        await turns(1)
        child.cancel()

    assert child.cancelled()


@pytest.mark.parametrize("error", [GeneratorExit(), BaseException("bare")])
async def test_exception_that_is_no_error_comes_out_as_one_that_names_the_stage(
    error: BaseException,
) -> None:
    """It came out as a bare exception group."""
    aside = CleanUp()

    with pytest.raises(StageAbortedError, match="stage Fail ended with") as raised:
        await create_pipeline([Feed(range(9)), aside, Fail(error), EndStage()])

    assert raised.value.__cause__ is error
    assert raised.value.__notes__ == ["in stage 3 of 4, Fail"]
    assert aside.cleaned


@pytest.mark.parametrize("stop", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("in_child", [True, False])
async def test_what_stops_a_process_comes_out_as_itself_after_the_clean_up(
    stop: BaseException, in_child: bool
) -> None:
    """It broke the loop off, with all that went on in it."""
    aside = CleanUp()

    async def fail(stage: Stage) -> None:
        raise stop

    async def fail_in_child(stage: Stage) -> None:
        async with task_group() as group:
            group.create_task(fail(stage))

    failing = Does(fail_in_child if in_child else fail)

    with pytest.raises(type(stop)) as raised:
        await create_pipeline([Feed(range(9)), aside, failing, EndStage()])

    assert raised.value is stop
    assert aside.cleaned


@pytest.mark.parametrize("goes_on", ["returns", "reads", "puts", "fails to read to the end"])
async def test_stage_that_swallows_the_cancellation_cannot_hold_up_the_end(goes_on: str) -> None:
    class Swallows(Stage):
        async def run(self) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if goes_on == "reads":
                    async for _ in self.items():
                        pass
                elif goes_on == "puts":
                    await self.put_all(range(9))
                elif goes_on == "returns":
                    async for _ in self.items():
                        return

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SOON):
            await create_pipeline([Feed(range(9)), Swallows(), CleanUp(), EndStage()])


async def test_timeout_around_a_pipeline_is_a_timeout(start: Start) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SOON):
            await create_pipeline([Does(lambda _: asyncio.sleep(60)), EndStage()])

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_item_of_a_task_that_its_stage_left_behind_fails_the_pipeline(start: Start) -> None:
    """The item was lost, and the pipeline ended well. Whose task it is cannot be known before."""

    class Careless(Stage):
        async def run(self) -> None:
            await self.put(1)
            Context().run(start, self.rest())

        async def rest(self) -> None:
            await turns(3)
            await self.put(2)

    class Slow(Stage):
        async def run(self) -> None:
            async for _ in self.items():
                await turns(10)

    with pytest.raises(PipelineError, match="its stage had left behind"):
        await create_pipeline([Careless(), Slow(), EndStage()], 5)


async def test_task_that_its_stage_left_behind_fails_the_pipeline_before_it_puts(
    start: Start,
) -> None:
    """Nothing was known of it until the pipeline had ended."""

    class Careless(Stage):
        async def run(self) -> None:
            await self.put(1)
            left.append(start(self.rest()))

        async def rest(self) -> None:
            await asyncio.sleep(60)
            await self.put(2)

    left: list[asyncio.Task[Any]] = []
    with pytest.raises(StageEndedEarlyError, match=r"stage Careless .*\(.*Careless\.rest\)"):
        await create_pipeline([Careless(), EndStage()], 5)

    assert not left[0].done()


async def test_item_that_comes_after_the_end_is_known_to_the_pipeline(start: Start) -> None:
    """A version must not be completed without it."""
    gate = asyncio.Event()
    left: list[asyncio.Task[Any]] = []

    class Careless(Stage):
        async def run(self) -> None:
            left.append(Context().run(start, self.rest()))

        async def rest(self) -> None:
            await gate.wait()
            await self.put(1)

    pipeline = Pipeline([Careless(), EndStage()])
    await pipeline.run()
    pipeline.expect_no_loss()
    gate.set()

    with pytest.raises(PipelineError, match="stage Careless had left behind: its pipeline had"):
        await left[0]
    with pytest.raises(PipelineError, match="stage Careless had left behind: its pipeline had"):
        pipeline.expect_no_loss()


async def test_item_whose_sender_hides_that_it_was_refused_fails_the_pipeline() -> None:
    """The stage behind had returned early; the items were lost, and the pipeline ended well."""

    class Hides(Stage):
        async def run(self) -> None:
            await turns(5)
            for number in range(3):
                try:
                    await self.put(number)
                except PipelineError:
                    continue

    class Leaves(Stage):
        async def run(self) -> None:
            pass

    with pytest.raises(StageEndedEarlyError, match="although items were still coming"):
        await create_pipeline([Hides(), Leaves(), EndStage()])


class Awaits(Stage):
    """A first stage that awaits an item that is never put: itself, or in tasks of its own."""

    def __init__(self, way: str) -> None:
        self.way = way

    async def run(self) -> None:
        await self.put(Unit("other"))
        lost = Unit("lost")
        if self.way == "itself":
            await lost.resolution()
        elif self.way == "gather":
            await asyncio.gather(lost.resolution(), asyncio.sleep(0))
        elif self.way == "task":
            await asyncio.create_task(lost.resolution())
        elif self.way == "group":
            async with task_group() as group:
                group.create_task(lost.resolution())
        else:
            async with asyncio.timeout(60):
                await asyncio.wait_for(lost.resolution(), 60)


@pytest.mark.parametrize("way", ["itself", "gather", "task", "group", "wait_for"])
async def test_stage_that_awaits_an_item_that_was_never_put_is_told(way: str) -> None:
    """It waited for ever, unseen."""
    async with asyncio.timeout(HANGS):
        with pytest.raises(PipelineStalledError) as raised:
            await create_pipeline([Awaits(way), Pass(), Resolve(), EndStage()], stall_timeout=SOON)

    assert "a task awaits unit lost (in stage Awaits), which was never put" in str(raised.value)


async def test_stage_that_awaits_what_it_has_to_hand_on_is_told() -> None:
    class Holds(Stage):
        async def run(self) -> None:
            async for item in self.items():
                await item.resolution()
                await self.put(item)

    with pytest.raises(PipelineStalledError, match=r"unit 0 \(in stage Holds\).* holds while it"):
        await create_pipeline([Feed([Unit(0)]), Holds(), Resolve(), EndStage()], stall_timeout=SOON)


async def test_item_that_was_put_into_another_pipeline_is_awaited_from_there(start: Start) -> None:
    unit, gate = Unit("shared"), asyncio.Event()

    class Waits(Stage):
        async def run(self) -> None:
            await unit.resolution()

    class Late(Stage):
        async def run(self) -> None:
            await self.put(unit)
            await gate.wait()

    other = start(create_pipeline([Late(), Drop(), EndStage()]))
    await turns(5)
    waiting = start(create_pipeline([Waits(), EndStage()]))
    await turns(5)
    gate.set()
    await other

    with pytest.raises(ItemDroppedError, match="unit shared will never be resolved"):
        await waiting


async def test_item_that_is_awaited_before_it_is_put_is_no_stall() -> None:
    class Early(Stage):
        async def run(self) -> None:
            unit = Unit("early")
            async with task_group() as group:
                group.create_task(unit.resolution())
                await asyncio.sleep(SOON / 2)
                await self.put(unit)

    end = Collect()

    await create_pipeline([Early(), Resolve(), end], stall_timeout=SOON)

    assert len(end.found) == 1
