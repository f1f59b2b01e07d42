"""Removing whole repositories and the records of old runs."""

import asyncio
from datetime import timedelta

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.records.run_records import Runs
from flowsync.catalog.upkeep.orphans import measure_removal, remove_repository
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import (
    RepositoryBusyError,
    RepositoryNotFoundError,
    RunNotFoundError,
    VersionKeptError,
    VersionNotFoundError,
)
from flowsync.model.reports import RunTerms
from flowsync.model.repository import LeftOut, Repository
from tests.integration.catalog.units import Shelf
from tests.integration.catalog.waiting import lock_waiters

R = Repository(name="r")
OTHER = Repository(name="other")
LEFT_OUT = LeftOut(relative_path="a", url="http://h/a", reason="404", action="skipped")
TOO_LARGE = (2**31, 10**20, -1)


async def make(repositories: Repositories, shelf: Shelf, *letters: str, of: Repository = R) -> None:
    async with repositories.new_version(of) as version:
        await version.set_content(await shelf.packages(*letters))


async def test_a_repository_goes_with_its_versions_and_no_other_loses_a_unit(
    database: Database, repositories: Repositories, shelf: Shelf
) -> None:
    await make(repositories, shelf, "A", "B")
    await make(repositories, shelf, "B", "C")
    await make(repositories, shelf, "A", "B", of=OTHER)

    _, foretold = await measure_removal(database, "r")
    removed = await remove_repository(database, "r")

    assert (foretold.versions, foretold.units, foretold.runs) == (2, 3, 0)
    assert removed == foretold
    assert await repositories.names() == ["other"]
    held = [unit async for batch in repositories.content_ids("other") for unit in batch]
    assert sorted(held) == sorted(await shelf.packages("A", "B"))
    with pytest.raises(RepositoryNotFoundError):
        await repositories.version("r")


async def test_a_repository_of_that_name_can_be_made_again(
    database: Database, repositories: Repositories, shelf: Shelf
) -> None:
    await make(repositories, shelf, "A")
    await remove_repository(database, "r")

    await make(repositories, shelf, "B")

    assert [version.present for version in await repositories.versions("r")] == [0, 1]


async def test_a_protected_version_keeps_its_repository(
    database: Database, repositories: Repositories, shelf: Shelf
) -> None:
    await make(repositories, shelf, "A")
    await repositories.protect_version("r", 1)

    with pytest.raises(VersionKeptError, match="'r' cannot be removed: its version 1 is protected"):
        await remove_repository(database, "r")

    assert (await repositories.version("r")).number == 1


@pytest.mark.parametrize("name", ["nobody", "acs:near:"])
async def test_what_is_no_repository_or_a_hidden_one_is_not_removed(
    database: Database, repositories: Repositories, name: str
) -> None:
    await repositories.ensure(Repository(name="acs:near:"))

    with pytest.raises(RepositoryNotFoundError):
        await remove_repository(database, name)


async def test_who_waits_for_a_repository_that_is_removed_is_told(
    database: Database, repositories: Repositories, shelf: Shelf
) -> None:
    async def wait_for_turn() -> None:
        async with repositories.new_version(R):
            pass

    await make(repositories, shelf, "A")
    async with repositories.new_version(R):
        with pytest.raises(RepositoryBusyError):
            await remove_repository(database, "r", wait=False)
        removing = asyncio.create_task(remove_repository(database, "r"))
        await lock_waiters(database, 1)
        opening = asyncio.create_task(wait_for_turn())
        await lock_waiters(database, 2)
        deleting = asyncio.create_task(repositories.delete_version("r", 0))
        await lock_waiters(database, 3)
    await removing

    with pytest.raises(RepositoryNotFoundError, match="was removed while a new version of it"):
        await opening
    with pytest.raises(RepositoryNotFoundError):
        await deleting


async def test_old_runs_go_with_what_they_left_out_and_the_last_ones_stay(
    database: Database, repositories: Repositories
) -> None:
    runs = Runs(database)
    async with repositories.new_version(R) as version, repositories.new_version(OTHER) as other:
        keys = []
        for state in ("completed", "completed", "failed", "failed", "failed"):
            keys.append(await runs.start(version, "somebody", RunTerms()))
            await runs.finish(keys[-1], state, (), [LEFT_OUT], 0)
        lost = await runs.start(other, "somebody", RunTerms())
        alone = await runs.start(other, "somebody", RunTerms())
        await runs.finish(alone, "failed", (), [], 0)
        await age(database, [key.number for key in keys[:3]], alone.number, lost.number)
        week = timedelta(days=7)

        counted = await runs.remove(week, apply=False)
        removed = await runs.remove(week)
        again = await runs.remove(week)
        alive = (await runs.run(lost.number)).state

    # The second is the last that went well; the others of `r` are young, `lost` lives, `alone` is
    # the last.
    assert (counted, removed, again) == (2, 2, 0)
    assert alive == "running"
    assert [run.number for run in await runs.newest("r")] == [
        key.number for key in (keys[4], keys[3], keys[1])
    ]
    assert [batch async for batch in runs.left_out(keys[0].number)] == []
    # Its process is gone now, and no lock is held.
    assert await runs.remove(week, "other") == 1


async def age(database: Database, *numbers: object) -> None:
    """Let runs have ended a year ago."""
    flat = [one for given in numbers for one in (given if isinstance(given, list) else [given])]
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE run SET seen_at = now() - interval '1 year', "
            "ended_at = ended_at - interval '1 year' WHERE number = ANY (%s)",
            (flat,),
        )


async def test_runs_of_a_repository_that_does_not_exist_are_an_error(database: Database) -> None:
    with pytest.raises(RepositoryNotFoundError):
        await Runs(database).remove(timedelta(), "nobody")


@pytest.mark.parametrize("number", TOO_LARGE)
async def test_numbers_beyond_what_the_catalog_holds_are_not_found(
    database: Database, repositories: Repositories, shelf: Shelf, number: int
) -> None:
    await make(repositories, shelf, "A")
    runs = Runs(database)

    for call in (
        repositories.version("r", number),
        repositories.delete_version("r", number),
        repositories.protect_version("r", number),
        repositories.roll_back("r", number),
        repositories.missing_artifacts("r", number),
        anext(repositories.entries("r", number)),
        anext(repositories.difference("r", 1, number)),
        anext(repositories.difference("r", number, 1)),
        anext(repositories.content_ids("r", number)),
        anext(repositories.added_ids("r", 1, number)),
    ):
        with pytest.raises(VersionNotFoundError, match=f"'r' has no complete version {number}"):
            await call
    with pytest.raises(RunNotFoundError):
        await runs.run(number)
    assert [batch async for batch in runs.left_out(number)] == []
    assert await runs.newest(limit=max(number, 0)) == []
