"""Pipelines of stages, sizes and awaits that nobody thought of: all end, lose nothing, and keep
order where order is promised.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync.pipeline.pipeline import create_pipeline
from flowsync.pipeline.stage import Stage
from tests.unit.pipeline.actors import Batch, Collect, Pass, Resolve, Unit, turns

Names = list[tuple[int, ...]]
Loop = Callable[[], asyncio.AbstractEventLoop]


class First(Stage):
    """Puts units and awaits some of them: at once, at the end, or from a task of its own."""

    def __init__(self, awaits: list[str]) -> None:
        self.awaits = awaits
        self.resolved: Names = []

    async def run(self) -> None:
        late = []
        async with asyncio.TaskGroup() as tasks:
            for number, when in enumerate(self.awaits):
                unit = Unit((number,))
                if when == "before":
                    tasks.create_task(self.wait(unit))
                    await turns(1)
                await self.put(unit)
                if when == "aside":
                    tasks.create_task(self.wait(unit))
                elif when == "at once":
                    await self.wait(unit)
                elif when == "late":
                    late.append(unit)
            for unit in late:
                await self.wait(unit)

    async def wait(self, unit: Unit) -> None:
        found = await unit.resolution()
        self.resolved.append(found.name)


class Filter(Stage):
    """Drops every n-th unit, and says so."""

    def __init__(self, every: int) -> None:
        self.every = every

    async def run(self) -> None:
        async for unit in self.items():
            if drops(unit.name, self.every):
                unit.resolve()
            else:
                await self.put(unit)


class FanOut(Stage):
    """Puts two new units behind every n-th one, and awaits the second."""

    def __init__(self, every: int) -> None:
        self.every = every

    async def run(self) -> None:
        async for unit in self.items():
            await self.put(unit)
            if drops(unit.name, self.every):
                children = [Unit((*unit.name, child)) for child in (0, 1)]
                await self.put_all(children)
                await children[1].resolution()


class Scatter(Stage):
    """Handles up to three units at a time, each for as long as it likes: order is lost."""

    async def run(self) -> None:
        slots = asyncio.Semaphore(3)
        async with asyncio.TaskGroup() as tasks:
            await slots.acquire()
            async for unit in self.items():
                tasks.create_task(self.handle(unit, slots))
                await slots.acquire()

    async def handle(self, unit: Unit, slots: asyncio.Semaphore) -> None:
        with self.working():
            await turns(sum(unit.name) % 4)
            await self.put(unit)
        slots.release()


class Plan(NamedTuple):
    """A stage to make, and what it does to a list of names."""

    make: Callable[[], Stage]
    does: Callable[[Names], Names]
    keeps_order: bool = True


def drops(name: tuple[int, ...], every: int) -> bool:
    return sum(name) % every == 0


def fan_out(names: Names, every: int) -> Names:
    found = []
    for name in names:
        found.append(name)
        if drops(name, every):
            found += [(*name, 0), (*name, 1)]
    return found


def same(names: Names) -> Names:
    return names


SIZES = st.integers(1, 30)
PLANS = st.one_of(
    st.just(Plan(Pass, same)),
    st.builds(lambda minsize: Plan(lambda: Batch(minsize), same), SIZES),
    st.builds(
        lambda minsize, more: Plan(lambda: Batch(minsize, minsize + more), same), SIZES, SIZES
    ),
    st.builds(
        lambda every: Plan(
            lambda: Filter(every), lambda names: [name for name in names if not drops(name, every)]
        ),
        st.integers(2, 5),
    ),
    st.builds(
        lambda every: Plan(lambda: FanOut(every), lambda names: fan_out(names, every)),
        st.integers(2, 5),
    ),
    st.just(Plan(Scatter, same, keeps_order=False)),
)
AWAITS = st.lists(
    st.sampled_from(["never", "before", "at once", "aside", "late"]), min_size=0, max_size=25
)


@settings(max_examples=150, deadline=None)
@given(
    awaits=AWAITS,
    before=st.lists(PLANS, max_size=5),
    behind=st.lists(st.sampled_from([Plan(Pass, same), Plan(lambda: Batch(7), same)]), max_size=2),
    maxsize=st.sampled_from([1, 2, 3, 10, 100]),
    loop=st.sampled_from([asyncio.new_event_loop, uvloop.new_event_loop]),
)
def test_any_pipeline_ends_loses_nothing_and_keeps_order(
    awaits: list[str], before: list[Plan], behind: list[Plan], maxsize: int, loop: Loop
) -> None:
    first, end = First(awaits), Collect()
    stages = [
        first,
        *(plan.make() for plan in before),
        Resolve(),
        *(plan.make() for plan in behind),
        end,
    ]

    run(stages, maxsize, loop)

    names: Names = [(number,) for number in range(len(awaits))]
    for plan in before:
        names = plan.does(names)
    found = [unit.name for unit in end.found]
    assert sorted(found) == sorted(names)
    if all(plan.keeps_order for plan in before):
        assert found == names
    assert sorted(first.resolved) == [
        (number,) for number, when in enumerate(awaits) if when != "never"
    ]


def run(stages: list[Stage], maxsize: int, loop: Loop) -> None:
    async def run_in_time() -> Any:
        async with asyncio.timeout(10):
            await create_pipeline(stages, maxsize)
        return asyncio.all_tasks()

    with asyncio.Runner(loop_factory=loop) as runner:
        left = runner.run(run_in_time())
    assert len(left) == 1
