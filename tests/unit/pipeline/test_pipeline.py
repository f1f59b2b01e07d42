import asyncio
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from flowsync.errors import PipelineError, RepeatedStageError
from flowsync.pipeline.pipeline import Pipeline, create_pipeline
from flowsync.pipeline.stage import EndStage, Progress, Stage, StageStatistics
from tests.unit.pipeline.actors import Batch, Collect, Feed, Pass, Unit, turns, until

Start = Callable[..., asyncio.Task[Any]]


async def test_items_pass_through_all_stages_in_order() -> None:
    end = Collect()

    await create_pipeline([Feed(range(10)), Pass(), Batch(3), Pass(), end], 2)

    assert end.found == list(range(10))


async def test_pipeline_holds_one_item_between_stages_unless_told_otherwise() -> None:
    pipeline = Pipeline([Feed([]), Pass(), EndStage()])

    await pipeline.run()

    assert [stage.output and stage.output.capacity for stage in pipeline.statistics()] == [
        1,
        1,
        None,
    ]


async def test_empty_list_of_stages_is_a_no_op() -> None:
    before = asyncio.all_tasks()

    await create_pipeline([])

    assert asyncio.all_tasks() == before


async def test_items_may_be_of_any_class() -> None:
    items = [0, "", b"x", (), {"a": 1}, object(), Unit("a"), ValueError("an item"), Feed]
    end = Collect()

    await create_pipeline([Feed(items), Batch(2), Pass(), end])

    assert end.found == items


async def test_one_object_may_be_put_twice() -> None:
    """It is two items."""
    unit = Unit("twice")
    end = Collect()

    await create_pipeline([Feed([unit, 1, unit]), Batch(2), end])

    assert end.found == [unit, 1, unit]


async def test_repeated_stage_is_refused_before_any_task_starts() -> None:
    """Tasks of the stages before it leaked."""
    again = Pass()
    before = asyncio.all_tasks()

    with pytest.raises(ValueError, match="once in a pipeline; repeated: Pass") as raised:
        await create_pipeline([Feed([1]), again, again])

    assert isinstance(raised.value, RepeatedStageError)
    assert asyncio.all_tasks() == before


@dataclass
class Plain(Pass):
    """Its instances compare equal, and cannot be hashed."""

    seen: list[int] = field(default_factory=list)


async def test_equal_stages_are_not_the_same_stage() -> None:
    end = Collect()

    await create_pipeline([Feed([1, 2]), Plain(), Plain(), end])

    assert end.found == [1, 2]


async def test_stage_that_does_not_call_the_constructor_of_stage_works() -> None:
    class Own(Stage):
        def __init__(self, factor: int) -> None:
            self.factor = factor

        async def run(self) -> None:
            async for item in self.items():
                await self.put(item * self.factor)

    end = Collect()

    await create_pipeline([Feed([1, 2]), Own(10), end])

    assert end.found == [10, 20]


async def test_stage_can_be_used_again_when_its_pipeline_has_ended() -> None:
    stages = [Feed([1, 2]), Pass(), end := Collect()]

    await create_pipeline(stages)
    await create_pipeline(stages)

    assert end.found == [1, 2, 1, 2]


async def test_stage_of_a_running_pipeline_is_refused_by_another(start: Start) -> None:
    shared, other = Pass(), Pass()
    gate = asyncio.Event()

    class Slow(Stage):
        async def run(self) -> None:
            await gate.wait()

    running = start(create_pipeline([Slow(), shared, EndStage()]))
    await turns(2)

    with pytest.raises(RepeatedStageError, match="stage Pass is part of another running pipeline"):
        await create_pipeline([Feed([1]), other, shared, EndStage()])

    gate.set()
    await running
    # The refusal has left none of the others bound.
    await create_pipeline([Feed([1]), other, shared, EndStage()])


async def test_pipeline_runs_once() -> None:
    pipeline = Pipeline([Feed([1]), EndStage()])
    await pipeline.run()

    with pytest.raises(PipelineError, match="a pipeline runs once"):
        await pipeline.run()


@pytest.mark.parametrize("seconds", [0, -1.0])
def test_impossible_stall_timeout_is_refused(seconds: float) -> None:
    with pytest.raises(PipelineError, match="stall_timeout must be positive seconds or None"):
        Pipeline([], stall_timeout=seconds)


def test_impossible_channel_is_refused() -> None:
    with pytest.raises(PipelineError, match="a channel holds at least 1 item, found maxsize 0"):
        Pipeline([Feed([]), EndStage()], 0)


async def test_pipeline_without_end_stage_fails_only_when_an_item_has_nowhere_to_go() -> None:
    """It failed even without an item."""
    await create_pipeline([Feed([]), Pass()])

    with pytest.raises(PipelineError, match=r"stage Pass has no stage behind it .* EndStage\(\)"):
        await create_pipeline([Feed([1]), Pass()])


async def test_stages_are_bound_to_the_context_and_progress_of_the_run() -> None:
    class Asking(Stage):
        async def run(self) -> None:
            self.meter("asked", str(self.context)).advance()

    progress = Progress()

    await create_pipeline([Asking(), EndStage()], context="ports", progress=progress)

    assert [(reading.message, reading.done) for reading in progress.read()] == [("ports", 1)]


async def test_statistics_tell_what_passed_stage_by_stage() -> None:
    class Odd(Stage):
        async def run(self) -> None:
            async for item in self.items():
                if item % 2:
                    await self.put(item)

    pipeline = Pipeline([Feed(range(10)), Odd(), EndStage()], 3)

    await pipeline.run()

    first, odd, end = pipeline.statistics()
    assert first.output is not None
    assert odd.output is not None
    assert (first.stage, odd.stage) == ("Feed", "Odd")
    assert (first.output.sent, first.output.waiting, first.output.peak) == (10, 0, 3)
    assert (odd.output.sent, odd.output.waiting) == (5, 0)
    assert end == StageStatistics(stage="EndStage", output=None)


async def test_full_channels_hold_the_first_stage_back(start: Start) -> None:
    """In flight are the channel and the batch, and nothing that was fetched ahead."""
    gate = asyncio.Event()

    class Slow(Stage):
        async def run(self) -> None:
            async for batch in self.batches(3):
                await gate.wait()
                await self.put_all(batch)

    pipeline = Pipeline([Feed(range(20)), Slow(), end := Collect()], 1)
    running = start(pipeline.run())
    await turns(50)

    output = pipeline.statistics()[0].output
    assert output is not None
    assert output.sent == 3 + 1
    gate.set()
    await running
    assert end.found == list(range(20))


async def test_several_tasks_of_a_stage_may_put_at_once() -> None:
    """They waited for ever as soon as two of them met a full channel."""

    class Many(Stage):
        async def run(self) -> None:
            async with asyncio.TaskGroup() as tasks:
                async for item in self.items():
                    tasks.create_task(self.put(item))

    end = Collect()

    await create_pipeline([Feed(range(50)), Many(), Pass(), end])

    assert sorted(end.found) == list(range(50))


async def test_pipeline_can_run_inside_a_stage() -> None:
    class Inner(Stage):
        async def run(self) -> None:
            async for batch in self.batches(2):
                inner = Collect()
                await create_pipeline([Feed(batch), Pass(), inner])
                await self.put_all(inner.found)

    end = Collect()

    await create_pipeline([Feed(range(6)), Inner(), end])

    assert end.found == [0, 1, 2, 3, 4, 5]


async def test_many_pipelines_run_in_one_loop() -> None:
    ends = [Collect() for _ in range(20)]

    async with asyncio.TaskGroup() as tasks:
        for number, end in enumerate(ends):
            tasks.create_task(create_pipeline([Feed([number] * 5), Batch(2), end]))

    assert [end.found for end in ends] == [[number] * 5 for number in range(20)]


async def test_first_stage_alone_is_a_pipeline() -> None:
    ran = []

    class Alone(Stage):
        async def run(self) -> None:
            ran.append(True)

    await create_pipeline([Alone()])

    assert ran == [True]


async def test_items_are_gone_with_the_pipeline(no_collector: None) -> None:
    units = [Unit(number) for number in range(20)]
    alive = weakref.WeakSet(units)
    pipeline = Pipeline([Feed(iter(units)), Batch(3), Pass(), Batch(500), EndStage()])

    await pipeline.run()
    del units

    assert pipeline.statistics()
    assert list(alive) == []


async def test_no_more_items_are_alive_than_stages_and_channels_hold(start: Start) -> None:
    """What passed is let go, however long the pipeline runs."""
    alive: weakref.WeakSet[Unit] = weakref.WeakSet()
    most = 0

    class Endless(Stage):
        async def run(self) -> None:
            for number in range(500):
                unit = Unit(number)
                alive.add(unit)
                await self.put(unit)

    class Watch(Stage):
        async def run(self) -> None:
            nonlocal most
            async for _ in self.items():
                most = max(most, len(alive))

    await create_pipeline([Endless(), Pass(), Batch(10), Watch()], 5)

    # Three channels of 5, an item in the hands of each of three stages, and a batch of up to 15 in
    # those of the fourth.
    assert most <= 3 * 5 + 3 + 15


async def test_no_task_is_left_when_a_pipeline_has_ended() -> None:
    before = asyncio.all_tasks()

    await create_pipeline([Feed(range(5)), Batch(2), EndStage()])
    await until(lambda: asyncio.all_tasks() == before)

    assert asyncio.all_tasks() == before
