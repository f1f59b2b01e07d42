import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync.errors import PipelineError, RepeatedStageError, UnboundStageError
from flowsync.pipeline.channel import Channel
from flowsync.pipeline.pipeline import create_pipeline
from flowsync.pipeline.resolution import Waiting
from flowsync.pipeline.stage import EndStage, Progress, Stage
from flowsync.runtime.tasks import Signal
from tests.unit.pipeline.actors import Batch, Collect, Feed, Pass, Unit, turns, until

Start = Callable[..., asyncio.Task[Any]]


class Reader(Stage):
    """Stands between two channels of its own."""

    def __init__(self, *items: Any) -> None:
        self.source: Channel[Any] = Channel(100)
        self.target: Channel[Any] = Channel(100)
        self.seen: list[list[Any]] = []
        for item in items:
            self.source.offer(item)
        self.connect(self.source, self.target, waiting=Waiting())

    async def read(
        self, minsize: int, pressure: Signal | None = None, lull: Signal | None = None
    ) -> list[list[Any]]:
        """Note the batches as they come and return all of them at the end; between lulls, those of
        at least three.
        """
        async for batch in self.batches(minsize, pressure=pressure, lull=lull, between=3):
            self.seen.append(batch)
        return self.seen


async def test_what_waits_comes_as_one_batch_in_order() -> None:
    stage = Reader("a", "b")
    stage.source.close()

    assert await stage.read(1) == [["a", "b"]]


async def test_stream_without_items_has_no_batch() -> None:
    stage = Reader()
    stage.source.close()

    assert await stage.read(1) == []


async def test_end_that_comes_later_brings_no_empty_batch(start: Start) -> None:
    stage = Reader("a")
    reading = start(stage.read(1))
    await until(lambda: stage.seen == [["a"]])

    stage.source.close()

    assert await reading == [["a"]]


async def test_groups_that_come_apart_are_batches_in_the_order_of_their_coming(
    start: Start,
) -> None:
    stage = Reader("a", "b")
    reading = start(stage.read(1))
    await until(lambda: len(stage.seen) == 1)

    await stage.source.send_all(["c", "d", "e"])
    stage.source.close()

    assert await reading == [["a", "b"], ["c", "d", "e"]]


async def test_awaited_item_releases_the_batch_it_rests_in(start: Start) -> None:
    first, second, third, fourth = units = [Unit(number) for number in range(4)]
    stage = Reader(*units[:3])
    reading = start(stage.read(4))
    await until(lambda: stage.source.receiver_waits)

    waiting = start(second.resolution())
    await until(lambda: len(stage.seen) == 1)
    for item in stage.seen[0]:
        item.resolve()
    stage.source.offer(fourth)
    stage.source.close()

    assert await waiting is second
    assert await reading == [[first, second, third], [fourth]]


async def test_item_awaited_before_it_came_releases_the_batch(start: Start) -> None:
    awaited = Unit("awaited")
    start(awaited.resolution())
    await turns(1)
    stage = Reader("a", awaited)
    reading = start(stage.read(500))

    await until(lambda: stage.seen == [["a", awaited]])

    stage.source.close()
    assert await reading == [["a", awaited]]


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 30), minsize=st.integers(1, 6), maxsize=st.integers(1, 12))
def test_batches_lose_nothing_and_have_at_least_their_minimum(
    count: int, minsize: int, maxsize: int
) -> None:
    middle, last, end = Batch(minsize), Batch(minsize), Collect()

    asyncio.run(create_pipeline([Feed(range(count)), middle, last, end], maxsize))

    assert end.found == list(range(count))
    for sizes in (middle.sizes, last.sizes):
        assert sum(sizes) == count
        assert all(size >= minsize for size in sizes[:-1])
        assert all(size >= 1 for size in sizes)


async def test_pressure_releases_a_batch_that_rests(start: Start) -> None:
    stage, pressure = Reader("a"), Signal()
    start(stage.read(100, pressure))
    await until(lambda: stage.source.receiver_waits)
    rested = stage.seen == []

    pressure.set()

    await until(lambda: stage.seen == [["a"]])
    assert rested


async def test_pressure_that_is_there_first_waits_for_an_item_without_spinning(
    start: Start,
) -> None:
    stage, pressure = Reader(), Signal()
    pressure.set()
    reading = start(stage.read(100, pressure))
    await until(lambda: stage.source.receiver_waits)

    # Had it spun, the test would not have come here; had it returned, nobody would wait.
    await turns(5)
    assert stage.source.receiver_waits
    stage.source.offer("a")

    await until(lambda: stage.seen == [["a"]])
    stage.source.close()
    assert await reading == [["a"]]


async def test_pressure_that_comes_again_releases_again(start: Start) -> None:
    stage, pressure = Reader("a"), Signal()
    start(stage.read(100, pressure))
    await until(lambda: stage.source.receiver_waits)
    pressure.set()
    await until(lambda: len(stage.seen) == 1)

    pressure.clear()
    stage.source.offer("b")
    await until(lambda: stage.source.receiver_waits)
    rested = len(stage.seen) == 1
    pressure.set()

    await until(lambda: stage.seen == [["a"], ["b"]])
    assert rested


async def test_pressure_between_lulls_releases_at_the_next_lull(start: Start) -> None:
    stage, pressure, lull = Reader("a"), Signal(), Signal()
    pressure.set()
    start(stage.read(1, pressure, lull))
    await until(lambda: stage.source.receiver_waits)
    rested = stage.seen == []

    lull.set()
    lull.clear()

    await until(lambda: stage.seen == [["a"]])
    assert rested


async def test_batch_between_lulls_is_released_when_it_is_large_enough(start: Start) -> None:
    stage = Reader("a", "b")
    start(stage.read(1, lull=Signal()))
    await until(lambda: stage.source.receiver_waits)
    rested = stage.seen == []

    stage.source.offer("c")

    await until(lambda: stage.seen == [["a", "b", "c"]])
    assert rested


async def test_pressure_that_never_comes_changes_nothing(start: Start) -> None:
    stage = Reader("a", "b", "c")
    start(stage.read(3, Signal()))

    await until(lambda: stage.seen == [["a", "b", "c"]])


async def test_batch_is_bounded_and_the_rest_is_the_next() -> None:
    stage = Reader(*range(23))
    stage.source.close()

    found = [len(batch) async for batch in stage.batches(5, maxsize=8)]

    assert found == [8, 8, 7]


async def test_batch_holds_2000_items_at_most_unless_more_are_asked_for() -> None:
    """It was whatever the queue held."""
    unbounded = Channel[int](6000)
    await unbounded.send_all(range(6000))
    unbounded.close()
    stage = Stage()
    stage.connect(unbounded, None, waiting=Waiting())

    assert [len(batch) async for batch in stage.batches()] == [2000, 2000, 2000]


async def test_items_come_one_by_one_in_order() -> None:
    stage = Reader(*range(5))
    stage.source.close()

    assert [item async for item in stage.items()] == [0, 1, 2, 3, 4]


async def test_iterating_again_after_the_end_ends_again() -> None:
    """It blocked for ever."""
    stage = Reader("a")
    stage.source.close()

    first = [item async for item in stage.items()]
    second = [item async for item in stage.items()]

    assert (first, second, await stage.read(1)) == (["a"], [], [])


async def test_breaking_out_of_items_loses_none() -> None:
    stage = Reader(*range(5))
    stage.source.close()

    async for item in stage.items():
        if item == 2:
            break

    assert [item async for item in stage.items()] == [3, 4]


async def test_breaking_out_of_batches_loses_no_item_and_leaves_nothing_armed() -> None:
    """An armed waiter was left behind and swallowed an item."""
    units = [Unit(number) for number in range(4)]
    stage, pressure = Reader(*units), Signal()
    async for batch in stage.batches(2, maxsize=2, pressure=pressure):
        assert batch == units[:2]
        break
    armed = [unit for unit in units if unit._wake is not None]
    await turns(2)
    tasks = asyncio.all_tasks()

    stage.source.close()

    assert await stage.read(1) == [units[2:]]
    assert (armed, pressure._subscribers) == ([], [])
    assert tasks == {asyncio.current_task()}


async def test_batch_whose_filling_is_cancelled_is_read_by_the_next_iteration(
    start: Start,
) -> None:
    stage = Reader("a", "b")
    reading = start(stage.read(500))
    await until(lambda: stage.source.receiver_waits)

    reading.cancel()
    await asyncio.wait([reading])
    stage.source.offer("c")
    stage.source.close()

    assert await stage.read(500) == [["a", "b", "c"]]


async def test_item_in_a_batch_whose_filling_was_cancelled_wakes_nobody(start: Start) -> None:
    item = Unit("a")
    stage = Reader(item)
    reading = start(stage.read(500))
    await until(lambda: stage.source.receiver_waits)
    reading.cancel()
    await asyncio.wait([reading])
    waiting = start(stage.source.wait())
    await turns(1)

    start(item.resolution())
    await turns(3)

    assert not waiting.done()


async def test_pressure_forgets_an_iteration_that_has_ended(start: Start) -> None:
    stage, pressure = Reader(), Signal()
    reading = start(stage.read(500, pressure))
    await until(lambda: stage.source.receiver_waits)
    stage.source.close()
    await reading

    assert pressure._subscribers == []


async def test_iteration_can_be_closed_by_hand() -> None:
    stage = Reader(*range(4))

    async with aclosing(stage.batches(2, maxsize=2)) as batches:
        first = await anext(batches)

    assert first == [0, 1]
    assert stage.source.take(9) == [2, 3]


async def test_none_cannot_be_put() -> None:
    stage = Reader()

    with pytest.raises(ValueError, match="stage Reader cannot put None"):
        await stage.put(None)
    with pytest.raises(ValueError, match="stage Reader cannot put None"):
        await stage.put_all(["a", None])

    assert len(stage.target) == 0


@pytest.mark.parametrize("item", [0, "", False, (), {}, object])
async def test_anything_but_none_can_be_put(item: object) -> None:
    stage = Reader()

    await stage.put(item)
    await stage.put_all([item, item])

    assert stage.target.take(9) == [item, item, item]


async def test_put_all_of_nothing_puts_nothing() -> None:
    stage = Reader()

    await stage.put_all([])

    assert len(stage.target) == 0


async def test_stage_closes_its_output_when_it_has_run() -> None:
    """The end is told once, by each stage for itself."""
    source, target = Channel[str](), Channel[str]()
    source.offer("a")
    source.close()
    stage = Pass()
    stage.connect(source, target, waiting=Waiting())

    await stage()

    assert target.take(9) == ["a"]
    assert target.exhausted


async def test_stage_that_fails_closes_nothing() -> None:
    target = Channel[str]()
    stage = Stage()
    stage.connect(None, target, waiting=Waiting())

    with pytest.raises(NotImplementedError):
        await stage()

    assert not target.exhausted


async def test_stage_that_implements_nothing_says_so() -> None:
    class Idle(Stage):
        pass

    with pytest.raises(NotImplementedError, match=r"stage Idle does not implement run\(\)"):
        await Idle().run()


async def test_first_stage_has_no_input() -> None:
    stage = Pass()
    stage.connect(None, Channel(), waiting=Waiting())

    with pytest.raises(PipelineError, match="stage Pass has no input: it is the first"):
        await stage()


async def test_end_stage_drains_its_input_and_puts_nothing() -> None:
    source = Channel[int](3)
    await source.send_all([1, 2, 3])
    source.close()
    stage = EndStage()
    stage.connect(source, None, waiting=Waiting())

    await stage()

    assert source.exhausted


def test_unbound_stage_names_itself_when_it_is_asked_for_its_context() -> None:
    with pytest.raises(UnboundStageError, match="stage Pass needs a run context"):
        Pass().context  # noqa: B018


def test_bound_stage_gives_its_context() -> None:
    stage = Pass()

    stage.connect(None, None, waiting=Waiting(), context="ports")

    assert stage.context == "ports"


def test_stage_of_a_running_pipeline_cannot_be_bound_to_another() -> None:
    stage = Pass()
    stage.connect(None, None, waiting=Waiting())

    with pytest.raises(RepeatedStageError, match="stage Pass is part of another running pipeline"):
        stage.connect(None, None, waiting=Waiting())

    stage.disconnect()
    stage.connect(None, None, waiting=Waiting())


def test_meter_of_a_run_is_seen_in_its_progress() -> None:
    progress = Progress()
    stage = Pass()
    stage.connect(None, None, waiting=Waiting(), progress=progress)

    stage.meter("passing", "Passing", 3).advance()

    assert [(reading.code, reading.done, reading.total) for reading in progress.read()] == [
        ("passing", 1, 3)
    ]


def test_meter_outside_of_a_run_counts_for_itself() -> None:
    meter = Pass().meter("passing", "Passing", 3)

    meter.advance(2)

    assert (meter.done, meter.total) == (2, 3)


def test_stage_works_while_any_of_its_blocks_does() -> None:
    def busy() -> Iterator[int]:
        with stage.working():
            yield stage._busy
            with stage.working():
                yield stage._busy
            yield stage._busy
        yield stage._busy

    stage = Pass()

    assert list(busy()) == [1, 2, 1, 0]
