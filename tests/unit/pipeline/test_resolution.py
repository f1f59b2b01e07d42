import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flowsync.errors import ItemDroppedError
from flowsync.pipeline.resolution import Waiting
from tests.unit.pipeline.actors import Unit, turns

Start = Callable[..., asyncio.Task[Any]]


class Replaced(Unit):
    """Its outcome changes on the way."""

    value = "declared"

    def outcome(self) -> str:
        return self.value


async def test_all_who_await_an_item_get_it(start: Start) -> None:
    item = Unit("shared")
    waiters = [start(item.resolution()) for _ in range(3)]
    await turns(1)

    item.resolve()

    assert await asyncio.gather(*waiters) == [item, item, item]
    assert not item.awaited


async def test_waiters_get_the_outcome_as_it_was_when_the_item_was_resolved(start: Start) -> None:
    item = Replaced("x")
    waiter = start(item.resolution())
    await turns(1)

    item.value = "stored"
    item.resolve()
    item.value = "later"

    assert await waiter == "stored"


async def test_who_asks_after_the_resolution_gets_the_present_outcome() -> None:
    item = Replaced("x")
    item.resolve()

    item.value = "replaced again"

    assert await item.resolution() == "replaced again"


async def test_resolve_may_be_called_again(start: Start) -> None:
    item = Unit("x")
    waiter = start(item.resolution())
    await turns(1)

    item.resolve()
    item.resolve()

    assert await waiter is item


async def test_resolve_needs_no_pipeline_and_no_waiter() -> None:
    item = Unit("x")

    item.resolve()

    assert await item.resolution() is item


async def test_waiter_that_times_out_harms_nobody(start: Start) -> None:
    """It cancelled the shared future, all other waiters, and the pipeline that
    resolved the item.
    """
    item = Unit("slow")
    patient = start(item.resolution())

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await item.resolution()
    item.resolve()

    assert await patient is item


async def test_waiter_that_is_cancelled_harms_nobody(start: Start) -> None:
    item = Unit("x")
    gone, patient = start(item.resolution()), start(item.resolution())
    await turns(1)

    gone.cancel()
    await asyncio.wait([gone])
    still_awaited = item.awaited
    item.resolve()

    assert gone.cancelled()
    assert still_awaited
    assert await patient is item


async def test_item_that_is_resolved_after_its_only_waiter_has_gone_is_resolved(
    start: Start,
) -> None:
    """It was an InvalidStateError in the resolver."""
    item = Unit("x")
    gone = start(item.resolution())
    await turns(1)
    gone.cancel()

    item.resolve()
    await asyncio.wait([gone])

    assert gone.cancelled()
    assert await item.resolution() is item


async def test_item_whose_waiters_have_all_gone_is_as_if_never_awaited(start: Start) -> None:
    """Else it would be flushed through every buffer, and a pipeline could be taken for stalled."""
    waiting = Waiting()
    item = Unit("x")
    item.enter(waiting)
    waiters = [start(item.resolution()) for _ in range(2)]
    await turns(1)

    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)

    assert not item.awaited
    assert len(waiting) == 0


async def test_item_is_armed_until_it_is_disarmed(start: Start) -> None:
    calls: list[str] = []
    item = Unit("x")
    item.arm(lambda: calls.append("woken"))

    start(item.resolution())
    await turns(1)
    item.arm(None)
    start(item.resolution())
    await turns(1)

    assert calls == ["woken"]


async def test_end_of_the_pipeline_fails_whoever_still_waits(start: Start) -> None:
    """Waiters outside of the pipeline hung for ever."""
    waiting = Waiting()
    item = Unit("lost")
    item.enter(waiting)
    waiters = [start(item.resolution()) for _ in range(2)]
    await turns(1)

    waiting.end(None)

    for waiter in waiters:
        with pytest.raises(
            ItemDroppedError, match="unit lost will never be resolved: no stage resolved it"
        ):
            await waiter


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (ValueError("broken"), r"the pipeline failed: ValueError\('broken'\)"),
        (asyncio.CancelledError(), "the pipeline was cancelled"),
    ],
)
async def test_waiters_are_told_what_ended_the_pipeline(
    start: Start, cause: BaseException, reason: str
) -> None:
    waiting = Waiting()
    item = Unit("lost")
    item.enter(waiting)
    waiter = start(item.resolution())
    await turns(1)

    waiting.end(cause)

    with pytest.raises(ItemDroppedError, match=reason) as raised:
        await waiter
    assert raised.value.__cause__ is cause


async def test_who_asks_for_a_dropped_item_after_the_end_is_told_at_once() -> None:
    """It waited for ever: nothing of the pipeline was left to answer."""
    waiting = Waiting()
    item = Unit("lost")
    item.enter(waiting)
    waiting.end(None)

    with pytest.raises(ItemDroppedError, match="unit lost will never be resolved"):
        await item.resolution()


async def test_item_that_was_dropped_can_go_through_another_pipeline(start: Start) -> None:
    first, second = Waiting(), Waiting()
    item = Unit("again")
    item.enter(first)
    first.end(None)

    item.enter(second)
    waiter = start(item.resolution())
    await turns(1)
    awaited = len(second)
    item.resolve()

    assert awaited == 1
    assert await waiter is item


async def test_item_awaited_before_it_enters_a_pipeline_is_known_to_it(start: Start) -> None:
    waiting = Waiting()
    item = Unit("early")
    waiter = start(item.resolution())
    await turns(1)

    item.enter(waiting)

    assert waiting.describe() == "unit early"
    assert waiting.tasks() == {waiter}
    item.resolve()
    await waiter


async def test_end_of_an_inner_pipeline_does_not_fail_an_item_of_the_outer_one(
    start: Start,
) -> None:
    outer, inner = Waiting(), Waiting()
    item = Unit("travelling")
    item.enter(outer)
    waiter = start(item.resolution())
    await turns(1)

    item.enter(inner)
    inner.end(None)
    item.resolve()

    assert await waiter is item


async def test_error_of_a_waiter_that_nobody_looks_at_is_not_reported(start: Start) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
    waiting = Waiting()
    item = Unit("lost")
    item.enter(waiting)
    waiter = start(item.resolution())
    await turns(1)

    waiting.end(None)
    waiter.cancel()
    await asyncio.wait([waiter])
    del waiter
    await turns(2)

    assert reports == []


async def test_many_awaited_items_are_described_by_a_few(start: Start) -> None:
    waiting = Waiting()
    items = [Unit(number) for number in range(5)]
    for item in items:
        item.enter(waiting)
        start(item.resolution())
    await turns(1)

    assert waiting.describe() == "unit 0, unit 1, unit 2 and 2 more"
    assert len(waiting) == 5
