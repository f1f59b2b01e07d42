import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flowsync.errors import PipelineError
from flowsync.pipeline.channel import LARGEST_BATCH, BatchBuffer
from tests.unit.pipeline.actors import Unit, turns

Start = Callable[..., asyncio.Task[Any]]


def is_due(buffer: BatchBuffer[object], *, ended: bool = False, pressed: bool = False) -> bool:
    return buffer.due(ended=ended, pressed=pressed)


async def test_batch_is_due_at_its_minimum() -> None:
    buffer: BatchBuffer[object] = BatchBuffer(3)

    buffer.extend([1, 2])
    before = is_due(buffer)
    buffer.extend([3])

    assert (before, is_due(buffer)) == (False, True)


def test_batch_is_due_when_the_stream_has_ended() -> None:
    buffer: BatchBuffer[object] = BatchBuffer(3)
    buffer.extend([1])

    assert is_due(buffer, ended=True)


def test_batch_is_due_when_the_budget_presses() -> None:
    buffer: BatchBuffer[object] = BatchBuffer(100)
    buffer.extend([1])

    assert is_due(buffer, pressed=True)


def test_batch_with_another_minimum_is_due_there_or_at_the_end_whatever_presses() -> None:
    buffer: BatchBuffer[object] = BatchBuffer(2)
    buffer.extend([1, 2, 3])

    assert not buffer.due(ended=False, pressed=True, at_least=4)
    assert buffer.due(ended=True, pressed=False, at_least=4)
    buffer.extend([4])
    assert buffer.due(ended=False, pressed=False, at_least=4)


def test_batch_with_another_minimum_waits_for_one_lull_and_not_for_the_next() -> None:
    """With flushes of 100 ms, all but one of eight syncs had waited for each other's in turn: 15 s
    instead of 10.
    """
    buffer: BatchBuffer[object] = BatchBuffer(2)
    buffer.lull()
    buffer.extend([1])
    before = buffer.due(ended=False, pressed=True, at_least=4)
    buffer.lull()

    assert not before
    assert buffer.due(ended=False, pressed=True, at_least=4)
    buffer.release()
    buffer.extend([2])
    assert not buffer.due(ended=False, pressed=True, at_least=4)


async def test_awaited_item_releases_a_batch_with_another_minimum(start: Start) -> None:
    buffer: BatchBuffer[object] = BatchBuffer(2)
    unit = Unit("a")
    start(unit.resolution())
    await turns(2)
    buffer.extend([unit])

    assert buffer.due(ended=False, pressed=False, at_least=4)


def test_empty_batch_is_never_due() -> None:
    buffer: BatchBuffer[object] = BatchBuffer(1)

    assert not is_due(buffer, ended=True, pressed=True)
    assert not buffer.due(ended=True, pressed=True, at_least=1)


def test_batch_takes_no_more_than_its_maximum() -> None:
    buffer: BatchBuffer[object] = BatchBuffer(2, 5)

    buffer.extend([1, 2, 3])

    assert buffer.room == 2


@pytest.mark.parametrize(("minsize", "room"), [(500, LARGEST_BATCH), (5000, 5000)])
def test_batches_are_bounded_also_when_nobody_says_how(minsize: int, room: int) -> None:
    assert BatchBuffer[object](minsize).room == room
    assert LARGEST_BATCH == 2000


@pytest.mark.parametrize(
    ("minsize", "maxsize", "message"),
    [
        (0, None, "a batch has at least 1 item, found minsize 0"),
        (5, 4, "batches of at least 5 and at most 4 items cannot be"),
    ],
)
def test_impossible_sizes_are_refused(minsize: int, maxsize: int | None, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        BatchBuffer[object](minsize, maxsize)


def test_release_returns_the_items_in_order_and_begins_anew() -> None:
    buffer: BatchBuffer[object] = BatchBuffer(2)
    buffer.extend([1, 2])
    buffer.extend([3])

    assert buffer.release() == [1, 2, 3]
    assert not is_due(buffer, ended=True)
    assert buffer.release() == []


async def test_batch_is_due_when_an_item_that_comes_is_awaited(start: Start) -> None:
    """Awaited before it enters a buffer."""
    awaited = Unit("awaited")
    start(awaited.resolution())
    await turns(1)
    buffer: BatchBuffer[object] = BatchBuffer(10)

    buffer.extend([Unit("first"), awaited])

    assert is_due(buffer)


async def test_batch_is_due_when_an_item_in_it_is_awaited(start: Start) -> None:
    """Awaited while in a buffer."""
    wakes: list[str] = []
    buffer: BatchBuffer[object] = BatchBuffer(10)
    resting = Unit("resting")
    buffer.extend([1, resting])
    buffer.arm(lambda: wakes.append("woken"))

    start(resting.resolution())
    await turns(1)

    assert wakes == ["woken"]
    assert is_due(buffer)


async def test_items_that_come_later_are_armed_too(start: Start) -> None:
    wakes: list[str] = []
    buffer: BatchBuffer[object] = BatchBuffer(10)
    first, second = Unit(1), Unit(2)
    for item in (first, second):
        buffer.extend([item])
        buffer.arm(lambda: wakes.append("woken"))

    start(second.resolution())
    await turns(1)

    assert wakes == ["woken"]


async def test_released_item_no_longer_wakes_the_buffer(start: Start) -> None:
    wakes: list[str] = []
    buffer: BatchBuffer[object] = BatchBuffer(10)
    item = Unit("gone")
    buffer.extend([item])
    buffer.arm(lambda: wakes.append("woken"))
    buffer.release()
    buffer.extend([1])

    start(item.resolution())
    await turns(1)

    assert wakes == []
    assert not is_due(buffer)


async def test_resolved_item_is_batched_like_any_other(start: Start) -> None:
    """Behind the resolver every batch used to hold one or two items."""
    item = Unit("resolved")
    start(item.resolution())
    await turns(1)
    item.resolve()
    buffer: BatchBuffer[object] = BatchBuffer(10)

    buffer.extend([item])

    assert not is_due(buffer)
