"""Which tasks a stage left behind: what it began, goes on, and can put."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from flowsync.pipeline.channel import Beginner
from tests.unit.pipeline.actors import turns


class Stage:
    """What only its methods make a stage of."""

    async def wait(self) -> None:
        await asyncio.sleep(60)

    async def within(self) -> None:
        await asyncio.gather(self.wait(), asyncio.sleep(60))

    def work(self) -> None:
        """Be called by a thread."""


async def call(work: Callable[[], Awaitable[Any]]) -> None:
    await work()


async def holding(*held: object) -> None:
    await asyncio.sleep(60)


async def deep(stage: Stage) -> None:
    await holding()
    await stage.wait()


def closure(stage: Stage) -> Awaitable[None]:
    async def child() -> None:
        await asyncio.sleep(60)
        await stage.wait()

    return child()


def function(stage: Stage) -> Awaitable[None]:
    def work() -> None:
        stage.work()

    return holding(work)


WORK: dict[str, Callable[[Stage], Any]] = {
    "a method": lambda stage: stage.wait(),
    "a bound method": lambda stage: holding(stage.wait),
    "a closure": closure,
    "a function that closes over it": function,
    "a partial": lambda stage: holding(partial(call, stage.wait)),
    "a nested coroutine": lambda stage: call(partial(call, stage.wait)),
    "a task within a task": lambda stage: call(lambda: asyncio.wait_for(stage.wait(), 60)),
    "a gathering": lambda stage: stage.within(),
    "an argument": deep,
    "a list": lambda stage: holding([stage.wait]),
}


@asynccontextmanager
async def begun(work: Any) -> AsyncIterator[asyncio.Task[Any]]:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("kind", WORK)
@pytest.mark.parametrize("count", [0, 3])
async def test_task_that_holds_its_stage_is_found(kind: str, count: int) -> None:
    stage, other = Stage(), Stage()
    beginner = Beginner()
    async with begun(WORK[kind](stage)) as task:
        await turns(count)
        found = beginner.left_behind(stage)
        of_another = beginner.left_behind(other)
        own = beginner.left_behind(stage, [task])

    assert any(task.get_name() in name for name in found)
    assert of_another == []
    assert len(own) < len(found)


async def test_name_says_what_the_task_does() -> None:
    stage = Stage()
    beginner = Beginner()
    async with begun(stage.wait()) as task:
        task.set_name("reader")
        assert beginner.left_behind(stage) == ["reader (Stage.wait)"]


async def test_task_that_holds_nothing_of_its_stage_is_none() -> None:
    """Such as one that keeps a pool of connections, which a request of the stage began."""
    stage = Stage()
    beginner = Beginner()
    async with begun(holding("pool")):
        assert beginner.left_behind(stage) == []


async def test_tasks_that_have_ended_or_are_being_cancelled_are_none() -> None:
    stage = Stage()
    beginner = Beginner()
    gate = asyncio.Event()

    async def slow(stage: Stage) -> None:
        try:
            await stage.wait()
        finally:
            await gate.wait()

    async with begun(asyncio.sleep(0, stage)) as ended, begun(slow(stage)) as cancelled:
        await turns(3)
        cancelled.cancel()
        await turns(1)
        assert ended.done()
        assert not cancelled.done()
        assert beginner.left_behind(stage) == []
        gate.set()


async def test_task_of_other_code_that_knows_the_stage_is_none() -> None:
    stage = Stage()
    found: list[list[str]] = []

    async def host() -> None:
        beginner = Beginner()
        await gate.wait()
        found.append(beginner.left_behind(stage))

    gate = asyncio.Event()
    async with begun(holding(stage)), begun(host()) as hosted:
        await turns(1)
        async with begun(holding(stage)):
            gate.set()
            await hosted

    assert found == [[]]


async def test_work_that_a_thread_or_a_timer_of_the_stage_began_is_found() -> None:
    stage = Stage()
    beginner = Beginner()
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[Any]] = []

    loop.call_soon(lambda: tasks.append(asyncio.create_task(stage.wait())))
    future = await asyncio.to_thread(asyncio.run_coroutine_threadsafe, stage.wait(), loop)
    async with begun(asyncio.to_thread(stage.work)) as thread:
        found = beginner.left_behind(stage)
        assert any(thread.get_name() in name for name in found)
    assert len(found) == 3
    future.cancel()
    tasks[0].cancel()
    await asyncio.wait(tasks)
