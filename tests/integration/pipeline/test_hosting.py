"""A segment in worker processes behaves as the same stages in process: items, awaits, failures, the
end, cancellation.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowsync.errors import WorkerError, WorkersLostError
from flowsync.pipeline.pipeline import Pipeline, create_pipeline
from flowsync.pipeline.stage import EndStage, Progress, Stage
from flowsync.runtime.local_processes import LocalProcesses
from tests.integration.pipeline.hosted import BadUnitError, HostedSteps, Steps, Unit, warm_up


@pytest.fixture
async def pool() -> AsyncIterator[LocalProcesses]:
    async with LocalProcesses(2, warm_up) as pool:
        yield pool


class Feed(Stage):
    def __init__(self, items: list[Unit]) -> None:
        self.given = items

    async def run(self) -> None:
        await self.put_all(self.given)


class Collect(Stage):
    def __init__(self) -> None:
        self.found: list[Unit] = []

    async def run(self) -> None:
        async for item in self.items():
            item.resolve()
            self.found.append(item)


def units(count: int) -> list[Unit]:
    return [Unit((number,)) for number in range(count)]


async def appears(path: Path) -> None:
    """Wait for a file of another process."""
    while not path.exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_items_come_back_as_the_very_objects(pool: LocalProcesses, tmp_path: Path) -> None:
    items, collect = units(300), Collect()

    await create_pipeline([Feed(items), HostedSteps(pool, [["Mark"]]), collect], 100)

    assert sorted(map(id, collect.found)) == sorted(map(id, items))
    assert {unit.pid for unit in items} <= set(pool.pids)
    assert os.listdir(tmp_path) == []


async def test_dropped_items_are_dropped_and_new_ones_made(
    pool: LocalProcesses, tmp_path: Path
) -> None:
    items, collect = units(4), Collect()
    steps: Steps = [["Filter", 3], ["FanOut", 2]]

    await create_pipeline([Feed(items), HostedSteps(pool, steps), collect], 10)

    assert sorted(unit.name for unit in collect.found) == [(1,), (2,), (2, 0), (2, 1)]
    assert [item.resolved for item in items] == [True, True, True, True]
    assert {id(items[1]), id(items[2])} <= {id(unit) for unit in collect.found}


async def test_silently_dropped_item_stays_unresolved(pool: LocalProcesses, tmp_path: Path) -> None:
    items = units(3)
    steps: Steps = [["Filter", 3, {"silent": True}]]

    await create_pipeline([Feed(items), HostedSteps(pool, steps), EndStage()], 10)

    assert [item.resolved for item in items] == [False, False, False]


async def test_awaited_item_never_waits_for_others(pool: LocalProcesses, tmp_path: Path) -> None:
    """One item, awaited by the first stage before it puts the next: a batch of its own."""

    class Awaiting(Stage):
        async def run(self) -> None:
            for unit in items:
                await self.put(unit)
                outcomes.append(await unit.resolution())

    items: list[Unit] = units(5)
    outcomes: list[Unit] = []

    await create_pipeline([Awaiting(), HostedSteps(pool, [["Mark"]]), Collect()])

    assert outcomes == items
    assert all(unit.pid in pool.pids for unit in outcomes)


async def test_items_that_are_not_wanted_overtake(pool: LocalProcesses, tmp_path: Path) -> None:
    items, collect = units(3), Collect()
    segment = HostedSteps(pool, [["Mark"]], at_home=frozenset({(0,), (2,)}))

    await create_pipeline([Feed(items), segment, collect], 10)

    assert [unit.name for unit in collect.found] == [(0,), (2,), (1,)]
    assert [bool(unit.pid) for unit in items] == [False, True, False]


async def test_no_more_than_bounded_batches_are_under_way(
    pool: LocalProcesses, tmp_path: Path
) -> None:
    """Workers that hang: three batches of one unit are out, as there are slots, and two units wait
    in the channel.
    """
    segment = HostedSteps(pool, [["Hang", str(tmp_path)]])
    pipeline = Pipeline([Feed(units(30)), segment, EndStage()], 2)
    running = asyncio.create_task(pipeline.run())

    def sent() -> int:
        output = pipeline.statistics()[0].output
        return output.sent if output else 0

    await appears(tmp_path / "begun")
    while sent() < 5:  # noqa: ASYNC110
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    after_a_while = sent()
    running.cancel()
    await asyncio.wait([running])

    assert after_a_while == 5


async def test_meters_of_workers_are_added_up(pool: LocalProcesses, tmp_path: Path) -> None:
    progress = Progress()
    segment = HostedSteps(pool, [["Mark"]], largest_batch=7)

    await create_pipeline([Feed(units(50)), segment, EndStage()], 20, progress=progress)

    (reading,) = progress.read()
    assert (reading.code, reading.message) == ("marking", "Marking")
    assert (reading.done, reading.size, reading.state) == (50, 500, "completed")


async def test_error_comes_out_as_itself_with_the_traceback_of_the_worker(
    pool: LocalProcesses, tmp_path: Path
) -> None:
    segment = HostedSteps(pool, [["Pass"], ["Fail", [3]]])

    with pytest.raises(BadUnitError, match=r"unit \(3,\) is bad") as caught:
        await create_pipeline([Feed(units(5)), segment, EndStage()], 5)

    notes = caught.value.__notes__
    assert caught.value.name == (3,)
    assert notes[0] == "in stage 3 of 4, Fail"
    assert notes[1].startswith("in worker process ")
    assert "Traceback (most recent call last)" in notes[1]
    assert "raise ShyError if self.shy else BadUnitError(unit.name)" in notes[1]
    assert notes[2] == "in stage 2 of 3, HostedSteps"
    assert os.listdir(tmp_path) == []


async def test_error_that_cannot_be_pickled_arrives_as_text(
    pool: LocalProcesses, tmp_path: Path
) -> None:
    segment = HostedSteps(pool, [["Fail", [0], {"shy": True}]])

    with pytest.raises(WorkerError, match="ShyError: stays at home"):
        await create_pipeline([Feed(units(1)), segment, EndStage()])


async def test_killed_worker_costs_no_item(pool: LocalProcesses, tmp_path: Path) -> None:
    items, collect = units(40), Collect()
    (tmp_path / "life-1").touch()
    steps: Steps = [["Die", [7], str(tmp_path)], ["Mark"]]

    await create_pipeline([Feed(items), HostedSteps(pool, steps, largest_batch=4), collect], 40)

    assert sorted(unit.name for unit in collect.found) == [(number,) for number in range(40)]
    assert not (tmp_path / "life-1").exists()


async def test_work_that_kills_every_worker_is_given_up_and_harms_no_other(
    pool: LocalProcesses, tmp_path: Path
) -> None:
    lethal, harmless = tmp_path / "lethal", tmp_path / "harmless"
    for folder in (lethal, harmless):
        folder.mkdir()
    for life in range(3):
        (lethal / f"life-{life}").touch()
    collect = Collect()
    killing = create_pipeline(
        [Feed(units(1)), HostedSteps(pool, [["Die", [0], str(lethal)]]), EndStage()]
    )
    going_on = create_pipeline(
        [Feed(units(50)), HostedSteps(pool, [["Mark"]], largest_batch=2), collect], 5
    )

    lost, unharmed = await asyncio.gather(killing, going_on, return_exceptions=True)

    assert isinstance(lost, WorkersLostError)
    assert "the worker processes were lost 3 times over it" in str(lost)
    assert unharmed is None
    assert len(collect.found) == 50


async def test_worker_killed_from_outside_between_runs_is_replaced(
    pool: LocalProcesses, tmp_path: Path
) -> None:
    for _ in range(2):
        collect = Collect()
        await create_pipeline([Feed(units(10)), HostedSteps(pool, [["Mark"]]), collect], 10)
        assert len(collect.found) == 10
        os.kill(pool.pids[0], signal.SIGKILL)


async def test_cancelling_stops_workers_and_leaves_them_fit(
    pool: LocalProcesses, tmp_path: Path
) -> None:
    """The worker's stages are cancelled and clean up before the pipeline ends; the
    processes stay.
    """
    segment = HostedSteps(pool, [["Hang", str(tmp_path)]], largest_batch=1)
    running = asyncio.create_task(create_pipeline([Feed(units(9)), segment, EndStage()], 9))
    await appears(tmp_path / "begun")
    pids = pool.pids

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert (tmp_path / "cancelled").exists()
    assert sorted(os.listdir(tmp_path)) == ["begun", "cancelled"]
    collect = Collect()
    await create_pipeline([Feed(units(4)), HostedSteps(pool, [["Mark"]]), collect], 4)
    assert {unit.pid for unit in collect.found} <= set(pids)


async def test_failure_elsewhere_in_the_pipeline_stops_workers(
    pool: LocalProcesses, tmp_path: Path
) -> None:
    class FailWhenBegun(Stage):
        async def run(self) -> None:
            await appears(tmp_path / "begun")
            raise BadUnitError((0,))

    segment = HostedSteps(pool, [["Hang", str(tmp_path)]])

    with pytest.raises(BadUnitError):
        await create_pipeline([Feed(units(2)), segment, FailWhenBegun()], 2)

    assert (tmp_path / "cancelled").exists()


async def test_worker_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    async with LocalProcesses(2, warm_up, patience=0.2) as pool:
        segment = HostedSteps(pool, [["Block", str(tmp_path)]])
        running = asyncio.create_task(create_pipeline([Feed(units(1)), segment, EndStage()]))
        await appears(tmp_path / "begun")
        pids = pool.pids

        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_closing_the_pool_leaves_no_process(tmp_path: Path) -> None:
    async with LocalProcesses(2, warm_up) as pool:
        await create_pipeline([Feed(units(4)), HostedSteps(pool, [["Mark"]]), EndStage()], 4)
        pids = pool.pids

    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
