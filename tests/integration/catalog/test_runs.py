"""The records of runs."""

from collections.abc import AsyncIterator

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.records.run_records import RunKey, Runs
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import RepositoryNotFoundError, RunNotFoundError
from flowsync.model.events import Reading
from flowsync.model.reports import RunSource, RunTerms
from flowsync.model.repository import LeftOut, Repository

TERMS = RunTerms(
    mirror=True,
    sources=(RunSource(remote="files", url="http://localhost/", policy="on_demand"),),
)
HALF = (
    Reading(code="downloading", message="Downloading", done=1, total=2, size=7, state="running"),
)
WHOLE = (
    Reading(code="downloading", message="Downloading", done=2, total=2, size=9, state="completed"),
)


@pytest.fixture
def runs(database: Database) -> Runs:
    return Runs(database)


@pytest.fixture
async def version(repositories: Repositories) -> AsyncIterator[NewVersion]:
    async with repositories.new_version(Repository(name="r")) as version:
        yield version


def left_out(path: str) -> LeftOut:
    return LeftOut(
        relative_path=path, url=f"http://localhost/{path}", reason="404", action="skipped"
    )


async def paths_left_out(runs: Runs, run: RunKey) -> list[str]:
    return [one.relative_path async for batch in runs.left_out(run.number) for one in batch]


async def test_run_that_is_under_way_is_shown_with_its_progress(
    runs: Runs, version: NewVersion
) -> None:
    key = await runs.start(version, "somebody", TERMS)
    await runs.advance(key, HALF, [left_out("a")], 0)

    (run,) = await runs.newest("r")

    assert (run.number, run.repository, run.state) == (key.number, "r", "running")
    assert (run.actor, run.terms, run.progress, run.left_out) == ("somebody", TERMS, HALF, 1)
    assert run.seen >= run.started
    assert (run.ended, run.version, run.result, run.error) == (None, None, None, None)


async def test_run_is_recorded_to_its_end(runs: Runs, version: NewVersion) -> None:
    good = await runs.start(version, "somebody", TERMS)
    bad = await runs.start(version, "somebody", TERMS)

    await runs.finish(good, "completed", WHOLE, [], 0, result={"version": 1, "added": 3})
    await runs.finish(bad, "failed", HALF, [], 0, error="upstream burnt down")

    second, first = await runs.newest("r")
    assert (first.state, first.version, first.progress) == ("completed", 1, WHOLE)
    assert first.result == {"version": 1, "added": 3}
    assert first.ended is not None
    assert first.ended >= first.started
    assert (second.state, second.error, second.progress) == ("failed", "upstream burnt down", HALF)


async def test_run_whose_session_is_gone_without_an_end_is_lost(
    runs: Runs, repositories: Repositories
) -> None:
    async with repositories.new_version(Repository(name="r")) as version:
        key = await runs.start(version, "somebody", TERMS)
        assert (await runs.run(key.number)).state == "running"

    lost = await runs.run(key.number)

    assert (lost.state, lost.ended, lost.version) == ("lost", None, None)


async def test_another_maker_of_versions_does_not_bring_a_lost_run_to_life(
    runs: Runs, repositories: Repositories
) -> None:
    async with repositories.new_version(Repository(name="r")) as version:
        lost = await runs.start(version, "somebody", TERMS)

    async with repositories.new_version(Repository(name="r")) as version:
        alive = await runs.start(version, "somebody", TERMS)
        found = {run.number: run.state for run in await runs.newest("r")}

    assert found == {lost.number: "lost", alive.number: "running"}


async def test_what_was_left_out_is_kept_once_and_in_order(runs: Runs, version: NewVersion) -> None:
    key = await runs.start(version, "somebody", TERMS)
    given = [left_out("c"), left_out("b"), left_out("a")]

    await runs.advance(key, HALF, given[:2], 0)
    # As after a statement whose answer was lost: it is told again.
    await runs.advance(key, HALF, given[:2], 0)
    await runs.finish(key, "completed", WHOLE, given, 2)

    assert await paths_left_out(runs, key) == ["c", "b", "a"]
    assert (await runs.run(key.number)).left_out == 3


async def test_telling_of_progress_is_one_statement(
    database: Database, runs: Runs, version: NewVersion
) -> None:
    key = await runs.start(version, "somebody", TERMS)
    before = database.round_trips

    await runs.advance(key, HALF, [left_out(str(number)) for number in range(1000)], 0)

    assert database.round_trips - before == 1


async def test_newest_runs_come_first_of_one_repository_or_of_all(
    runs: Runs, repositories: Repositories, version: NewVersion
) -> None:
    first = await runs.start(version, "somebody", TERMS)
    async with repositories.new_version(Repository(name="other")) as other:
        second = await runs.start(other, "somebody", TERMS)
    third = await runs.start(version, "somebody", TERMS)

    of_all = [run.number for run in await runs.newest()]
    of_one = [run.number for run in await runs.newest("r")]
    limited = [run.number for run in await runs.newest(limit=1)]

    assert of_all == [third.number, second.number, first.number]
    assert of_one == [third.number, first.number]
    assert limited == [third.number]


async def test_what_does_not_exist_is_an_error(runs: Runs, version: NewVersion) -> None:
    key = await runs.start(version, "somebody", TERMS)

    with pytest.raises(RepositoryNotFoundError, match="no repository is named 'nowhere'"):
        await runs.newest("nowhere")
    with pytest.raises(RunNotFoundError, match="no run has the number 4711"):
        await runs.run(4711)
    with pytest.raises(RunNotFoundError, match=f"'other' has the number {key.number}"):
        await runs.run(key.number, "other")
