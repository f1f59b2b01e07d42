"""What becomes of a pipeline when a stage fails, returns early, or the whole is cancelled."""

import asyncio
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from flowsync.errors import PipelineError, StageEndedEarlyError
from flowsync.pipeline.pipeline import create_pipeline
from flowsync.pipeline.stage import EndStage, Stage
from tests.unit.pipeline.actors import CleanUp, Fail, Feed, Pass, Unit, turns, until

Start = Callable[..., asyncio.Task[Any]]


class Idle(Stage):
    """Puts nothing and never ends by itself."""

    async def run(self) -> None:
        await asyncio.Event().wait()


class Parent(Stage):
    """Has a child task that takes a few turns to clean up."""

    def __init__(self) -> None:
        self.child = CleanUp()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as children:
            children.create_task(self.keep_house())
            async for item in self.items():
                await self.put(item)

    async def keep_house(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await turns(5)
            self.child.cleaned = True


class Returns(Stage):
    """Returns after as many items as it is told."""

    def __init__(self, count: int) -> None:
        self.count = count

    async def run(self) -> None:
        if self.count:
            async for _ in self.items():
                self.count -= 1
                if self.count == 0:
                    return


async def test_failing_stage_cancels_the_others_and_waits_for_them() -> None:
    """It waited for 60 s at most, then left them running."""
    before, behind = CleanUp(), CleanUp()

    with pytest.raises(ValueError, match="broken"):
        await create_pipeline(
            [Feed(range(9)), before, Fail(ValueError("broken")), behind, EndStage()]
        )

    assert (before.cleaned, behind.cleaned) == (True, True)


async def test_failing_stage_cancels_the_children_of_the_others_and_waits_for_them() -> None:
    parent = Parent()

    with pytest.raises(ValueError, match="broken"):
        await create_pipeline([Feed(range(9)), parent, Fail(ValueError("broken"))])

    assert parent.child.cleaned


async def test_failing_first_stage_ends_the_pipeline() -> None:
    class Broken(Stage):
        async def run(self) -> None:
            await self.put(1)
            raise KeyError("metadata")

    with pytest.raises(KeyError, match="metadata"):
        await create_pipeline([Broken(), Pass(), EndStage()])


async def test_no_task_is_left_of_a_failed_pipeline() -> None:
    before = asyncio.all_tasks()

    with pytest.raises(ValueError, match="broken"):
        await create_pipeline([Feed(range(9)), Parent(), Fail(ValueError("broken"))])

    assert asyncio.all_tasks() == before


async def test_first_error_comes_out_as_itself_and_names_its_stage() -> None:
    """Which stage had failed was not told."""
    error = ValueError("broken")

    with pytest.raises(ValueError, match="broken") as raised:
        await create_pipeline([Feed([1]), Fail(error), EndStage()])

    assert raised.value is error
    assert error.__notes__ == ["in stage 2 of 3, Fail"]
    assert error.__cause__ is None
    assert error.__context__ is None


async def test_errors_of_other_stages_are_attached_to_the_first() -> None:
    """They were dropped."""
    error = ValueError("broken")

    with pytest.raises(ValueError, match="broken") as raised:
        await create_pipeline(
            [Feed([1, 2]), Fail(error), CleanUp(error=OSError("also")), EndStage()]
        )

    assert raised.value is error
    assert error.__notes__ == [
        "in stage 2 of 4, Fail",
        "then also in stage 3 of 4, CleanUp: OSError('also')",
    ]


async def test_group_of_errors_that_a_stage_raises_comes_out_as_it_is() -> None:
    group = ExceptionGroup("two", [ValueError("a"), OSError("b")])

    with pytest.raises(ExceptionGroup) as raised:
        await create_pipeline([Feed([1]), Fail(group), EndStage()])

    assert raised.value is group


async def test_cancelling_a_pipeline_waits_until_its_stages_have_cleaned_up(start: Start) -> None:
    """The caller went on while they still worked."""
    stage = CleanUp()
    running = start(create_pipeline([Idle(), stage, EndStage()]))
    await stage.started.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert stage.cleaned


async def test_pipeline_that_runs_out_of_time_has_cleaned_up() -> None:
    parent = Parent()
    before = asyncio.all_tasks()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await create_pipeline([Idle(), parent, EndStage()])

    assert parent.child.cleaned
    assert asyncio.all_tasks() == before


async def test_error_of_a_clean_up_after_a_cancellation_comes_out(start: Start) -> None:
    stage = CleanUp(error=OSError("disk full"))
    running = start(create_pipeline([Idle(), stage, EndStage()]))
    await stage.started.wait()

    running.cancel()

    with pytest.raises(OSError, match="disk full"):
        await running


@pytest.mark.parametrize("failing", [True, False])
async def test_stages_can_be_used_again_after_a_failure(start: Start, failing: bool) -> None:
    stages = [Idle(), CleanUp(), EndStage()]
    running = start(create_pipeline([*stages, *([Fail(ValueError())] if failing else [])]))
    await turns(2)
    running.cancel()
    await asyncio.wait([running])

    await create_pipeline([Feed([1]), *stages[1:]])


async def test_stage_that_returns_while_items_wait_for_it_is_an_error() -> None:
    """The producer was blocked for ever."""
    with pytest.raises(
        StageEndedEarlyError, match=r"stage Returns returned with \d items waiting for it"
    ) as raised:
        await create_pipeline([Feed(range(9)), Returns(1), EndStage()], 3)

    assert raised.value.__notes__[0] == "in stage 2 of 3, Returns"


async def test_stage_that_returns_before_an_item_comes_is_an_error_for_the_sender() -> None:
    """The producer was blocked for ever."""

    class Late(Stage):
        async def run(self) -> None:
            await turns(5)
            await self.put(1)

    with pytest.raises(
        StageEndedEarlyError, match="stage Returns returned although items were still coming to it"
    ) as raised:
        await create_pipeline([Late(), Returns(0), EndStage()])

    assert raised.value.__notes__ == ["in stage 1 of 3, Late"]


async def test_stage_that_returns_early_out_of_a_batch_is_an_error() -> None:
    class ReturnsFromBatch(Stage):
        async def run(self) -> None:
            async for _ in self.batches(2, maxsize=2):
                return

    with pytest.raises(StageEndedEarlyError):
        await create_pipeline([Feed(range(9)), ReturnsFromBatch(), EndStage()])


async def test_stage_that_gives_up_on_filling_a_batch_cannot_lose_it() -> None:
    """A mirror would take the items for removed."""

    class Impatient(Stage):
        async def run(self) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    async for _ in self.batches(500):
                        raise AssertionError("the batch is not full")

    class Slow(Stage):
        async def run(self) -> None:
            await self.put(1)
            await asyncio.Event().wait()

    with pytest.raises(StageEndedEarlyError, match="stage Impatient returned with 1 items waiting"):
        await create_pipeline([Slow(), Impatient(), EndStage()])


async def test_stage_that_returns_when_nothing_more_comes_is_right() -> None:
    await create_pipeline([Feed([]), Returns(0), EndStage()])
    await create_pipeline([Feed([1]), Returns(1), EndStage()])


async def test_stage_that_leaves_a_task_behind_that_still_puts_is_an_error(start: Start) -> None:
    left: list[asyncio.Task[Any]] = []

    class Careless(Stage):
        async def run(self) -> None:
            left.extend(start(self.put(number)) for number in range(5))
            await turns(1)

    with pytest.raises(PipelineError, match=r"run\(\) returned while 4 tasks .* still waited"):
        await create_pipeline([Careless(), EndStage()])

    await until(lambda: all(task.done() for task in left))


async def test_items_of_a_failed_pipeline_are_gone_with_its_error(no_collector: None) -> None:
    class Holds(Stage):
        async def run(self) -> None:
            held = [item async for item in self.items()]
            raise ValueError(f"cannot keep {len(held)} items")

    units = [Unit(number) for number in range(20)]
    alive = weakref.WeakSet(units)

    with suppress(ValueError):
        await create_pipeline([Feed(iter(units)), Pass(), Holds()])
    del units

    assert list(alive) == []
