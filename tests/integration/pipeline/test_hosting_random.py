"""The same random segments, in process and in workers: they come to the same."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowsync.pipeline.pipeline import create_pipeline
from flowsync.pipeline.stage import Progress, Stage
from flowsync.runtime.local_processes import LocalProcesses
from tests.integration.pipeline.hosted import (
    BadUnitError,
    HostedSteps,
    Name,
    Steps,
    Unit,
    make,
    warm_up,
)
from tests.integration.pipeline.test_hosting import Collect, Feed

EVERY = st.integers(2, 5)
STEP = st.one_of(
    st.just(["Pass"]),
    st.just(["Mark"]),
    st.builds(lambda every: ["Filter", every], EVERY),
    st.builds(lambda every: ["Filter", every, {"silent": True}], EVERY),
    st.builds(lambda every: ["FanOut", every], EVERY),
    st.builds(lambda size: ["Batch", size], st.integers(1, 20)),
)

# At most one, at a unit that may or may not come so far: of two, it would be chance which is first.
FAILURE = st.lists(
    st.builds(lambda name: ["Fail", name], st.lists(st.integers(0, 40), min_size=1, max_size=2)),
    max_size=1,
)


class Outcome(NamedTuple):
    """What can be seen of a run from outside. After a failure, how far the others had come is
    chance.
    """

    failure: Name | None
    names: list[Name]
    resolved: list[bool]
    counted: list[tuple[str, int, int]]


class Workshop(NamedTuple):
    runner: asyncio.Runner
    pool: LocalProcesses
    folder: Path


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Workers that stay warm for all examples, and the loop they belong to."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        pool = LocalProcesses(2, warm_up)
        yield Workshop(runner, pool, tmp_path_factory.mktemp("wanted"))
        runner.run(pool.close())


async def outcome(stages: list[Stage], count: int, maxsize: int) -> Outcome:
    items, collect, progress = [Unit((number,)) for number in range(count)], Collect(), Progress()
    try:
        await create_pipeline([Feed(items), *stages, collect], maxsize, progress=progress)
    except BadUnitError as error:
        return Outcome(error.name, [], [], [])
    return Outcome(
        None,
        sorted(unit.name for unit in collect.found),
        [item.resolved for item in items],
        [(reading.code, reading.done, reading.size) for reading in progress.read() if reading.done],
    )


@given(
    before=st.lists(STEP, min_size=1, max_size=3),
    failure=FAILURE,
    after=st.lists(STEP, max_size=2),
    count=st.integers(0, 40),
    maxsize=st.integers(1, 50),
    largest_batch=st.integers(1, 20),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_workers_come_to_what_the_process_itself_comes_to(
    workshop: Workshop,
    before: Steps,
    failure: Steps,
    after: Steps,
    count: int,
    maxsize: int,
    largest_batch: int,
) -> None:
    runner, pool, folder = workshop
    steps = [*before, *failure, *after]
    hosted = HostedSteps(pool, steps, largest_batch=largest_batch)

    in_process = runner.run(outcome(make(steps), count, maxsize))
    across = runner.run(outcome([hosted], count, maxsize))

    assert across == in_process
    assert list(folder.iterdir()) == []
