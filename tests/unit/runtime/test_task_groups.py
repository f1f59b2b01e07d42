import asyncio
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from flowsync.runtime.tasks import task_group
from tests.unit.pipeline.actors import Unit, turns

Start = Callable[..., asyncio.Task[Any]]


async def fail(error: BaseException, after: int = 0) -> None:
    await turns(after)
    raise error


async def fail_when_cancelled(error: Exception) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise error


async def test_tasks_have_ended_when_the_block_has() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        await turns(number)
        ended.append(number)

    async with task_group() as group:
        for number in (3, 1, 2):
            group.create_task(work(number))

    assert ended == [1, 2, 3]


async def test_first_error_comes_out_as_itself_and_the_others_as_notes() -> None:
    error = ValueError("first")

    async def work() -> None:
        async with task_group() as group:
            group.create_task(fail_when_cancelled(OSError("second")))
            group.create_task(fail(error, after=3))

    with pytest.raises(ValueError, match="first") as raised:
        await work()

    assert raised.value is error
    assert error.__notes__ == ["then also: OSError('second')"]


async def test_error_of_the_block_itself_cancels_the_tasks() -> None:
    error = ValueError("in the block")
    tasks: list[asyncio.Task[Any]] = []

    async def work() -> None:
        async with task_group() as group:
            tasks.append(group.create_task(asyncio.Event().wait()))
            await turns(1)
            raise error

    with pytest.raises(ValueError, match="in the block") as raised:
        await work()

    assert raised.value is error
    assert tasks[0].cancelled()


async def test_errors_of_nested_groups_are_told_one_by_one() -> None:
    first, second = ValueError("first"), OSError("second")

    with pytest.raises(ValueError, match="first") as raised:
        async with task_group() as group:
            group.create_task(fail(ExceptionGroup("both", [first, second])))

    assert raised.value is first
    assert first.__notes__ == ["then also: OSError('second')"]


async def test_cancellation_goes_through(start: Start) -> None:
    ended: list[str] = []

    async def work() -> None:
        async with task_group() as group:
            group.create_task(clean_up())
            await asyncio.Event().wait()

    async def clean_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await turns(3)
            ended.append("cleaned")

    working = start(work())
    await turns(3)

    working.cancel()
    await asyncio.wait([working])

    assert working.cancelled()
    assert ended == ["cleaned"]


async def test_error_keeps_the_traceback_of_its_task_with_what_it_had_in_hand() -> None:
    with pytest.raises(ValueError, match="broken") as raised:
        async with task_group() as group:
            group.create_task(fail(ValueError("broken")))

    assert raised.traceback[-1].name == "fail"
    assert raised.traceback[-1].locals["after"] == 0


async def test_what_failed_tasks_had_in_hand_is_gone_with_the_error(no_collector: None) -> None:
    alive: weakref.WeakSet[Unit] = weakref.WeakSet()

    async def hold() -> None:
        held = Unit("held")
        alive.add(held)
        await turns(3)
        raise ValueError(f"cannot keep {held}")

    async def work() -> None:
        async with task_group() as group:
            for _ in range(3):
                group.create_task(hold())

    with suppress(ValueError):
        await work()

    assert list(alive) == []
