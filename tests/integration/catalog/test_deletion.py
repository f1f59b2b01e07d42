"""Deleting versions: what goes, what stays, and who may not."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import (
    RepositoryBusyError,
    RepositoryNotFoundError,
    VersionKeptError,
    VersionNotFoundError,
)
from flowsync.model.repository import Repository
from tests.integration.catalog.units import Shelf

R = Repository(name="r")


class History:
    """A repository whose versions are written as the letters of their units."""

    def __init__(self, repositories: Repositories, shelf: Shelf) -> None:
        self._repositories = repositories
        self._shelf = shelf

    async def make(self, *versions: str, repository: Repository = R) -> None:
        """Make one version after the other."""
        for letters in versions:
            async with self._repositories.new_version(repository) as version:
                await version.set_content(await self._units(letters))

    async def held(self) -> dict[int, str]:
        """Return what each version holds."""
        return {
            version.number: await self._letters(self._repositories.content_ids("r", version.number))
            for version in await self._repositories.versions("r")
        }

    async def told(self) -> dict[int, tuple[str, str]]:
        """Return what each version adds and removes; fail where the counts say something else."""
        told = {}
        for version in await self._repositories.versions("r"):
            added = await self._letters(self._repositories.added_ids("r", version.number))
            removed = await self._letters(self._repositories.removed_ids("r", version.number))
            assert (version.added, version.removed) == (len(added), len(removed))
            told[version.number] = (added, removed)
        return told

    async def _units(self, letters: Iterable[str]) -> list[bytes]:
        return await self._shelf.packages(*letters) if letters else []

    async def _letters(self, batches: AsyncIterator[list[bytes]]) -> str:
        alphabet = "ABCDEFGHI"
        names = dict(zip(await self._units(alphabet), alphabet, strict=True))
        return "".join(sorted([names[unit] async for batch in batches for unit in batch]))


@pytest.fixture
def history(repositories: Repositories, shelf: Shelf) -> History:
    return History(repositories, shelf)


async def memberships(database: Database) -> list[tuple[object, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT added, removed, count(*) FROM repository_content GROUP BY 1, 2 ORDER BY 1, 2"
        )
        return await cursor.fetchall()


async def numbers(repositories: Repositories) -> list[int]:
    return [version.number for version in await repositories.versions("r")]


# --- squash -----------------------------------------------------------------------------------


async def test_deleting_a_version_folds_its_changes_into_the_next(
    history: History, repositories: Repositories
) -> None:
    await history.make("ABCDE", "AFGHI", "ACDFH", "ACEFI")
    assert await history.told() == {
        0: ("", ""),
        1: ("ABCDE", ""),
        2: ("FGHI", "BCDE"),
        3: ("CD", "GI"),
        4: ("EI", "DH"),
    }

    successor = await repositories.delete_version("r", 2)

    assert await history.held() == {0: "", 1: "ABCDE", 3: "ACDFH", 4: "ACEFI"}
    assert await history.told() == {
        0: ("", ""),
        1: ("ABCDE", ""),
        3: ("FH", "BE"),
        4: ("EI", "DH"),
    }
    assert successor == await repositories.version("r", 3)


async def test_deleting_an_old_version_folds_its_additions_into_the_next(
    history: History, repositories: Repositories
) -> None:
    await history.make("A", "AB", "ABC")

    await repositories.delete_version("r", 1)

    assert await history.held() == {0: "", 2: "AB", 3: "ABC"}
    assert await history.told() == {0: ("", ""), 2: ("AB", ""), 3: ("C", "")}


async def test_deleting_two_versions_keeps_the_newest_and_its_difference_to_the_empty_one(
    history: History, repositories: Repositories
) -> None:
    await history.make("AB", "BC", "CD")

    await repositories.delete_version("r", 1)
    await repositories.delete_version("r", 2)

    assert await history.held() == {0: "", 3: "CD"}
    assert await history.told() == {0: ("", ""), 3: ("CD", "")}


async def test_a_unit_that_only_deleted_versions_removed_was_never_away(
    history: History, repositories: Repositories, database: Database
) -> None:
    await history.make("AB", "A", "AB", "A")

    await repositories.delete_version("r", 2)

    assert await memberships(database) == [(1, 4, 1), (1, None, 1)]
    assert await history.told() == {0: ("", ""), 1: ("AB", ""), 3: ("", ""), 4: ("", "B")}


async def test_a_unit_that_only_deleted_versions_held_leaves_no_row(
    history: History, repositories: Repositories, database: Database
) -> None:
    await history.make("A", "AB", "A")

    await repositories.delete_version("r", 2)

    assert await memberships(database) == [(1, None, 1)]
    assert await history.held() == {0: "", 1: "A", 3: "A"}


async def test_version_0_may_be_deleted(history: History, repositories: Repositories) -> None:
    await history.make("A", "AB")

    await repositories.delete_version("r", 0)

    assert await history.told() == {1: ("A", ""), 2: ("B", "")}


async def test_other_repositories_are_left_alone(
    history: History, repositories: Repositories, shelf: Shelf
) -> None:
    await history.make("AB", "B", repository=Repository(name="other"))
    await history.make("AB", "B", "BC")

    await repositories.delete_version("r", 1)

    (units,) = [ids async for ids in repositories.content_ids("other", 1)]
    assert units == sorted(await shelf.packages("A", "B"))


# --- the newest -------------------------------------------------------------------------------


async def test_deleting_the_newest_takes_its_additions_away_and_brings_back_its_removals(
    history: History, repositories: Repositories, database: Database
) -> None:
    await history.make("AB", "BC")

    assert await repositories.delete_version("r", 2) is None

    assert await history.held() == {0: "", 1: "AB"}
    assert await memberships(database) == [(1, None, 2)]


async def test_numbers_of_deleted_versions_are_not_used_again(
    history: History, repositories: Repositories
) -> None:
    await history.make("A")
    await repositories.delete_version("r", 1)
    assert (await repositories.version("r")).number == 0

    await history.make("A", "AB", "B")
    assert await numbers(repositories) == [0, 2, 3, 4]
    await repositories.delete_version("r", 3)
    await repositories.delete_version("r", 4)
    assert (await repositories.version("r")).number == 2

    async with repositories.new_version(R) as version:
        assert (version.number, version.previous) == (5, 2)


async def test_the_next_version_after_a_deletion_starts_with_what_is_left(
    history: History, repositories: Repositories
) -> None:
    await history.make("AB", "BC")
    await repositories.delete_version("r", 2)

    await history.make("ABC")

    assert await history.held() == {0: "", 1: "AB", 3: "ABC"}
    assert (await history.told())[3] == ("C", "")


# --- what cannot be deleted ---------------------------------------------------------------------


async def test_the_only_version_cannot_be_deleted(
    history: History, repositories: Repositories
) -> None:
    await history.make("A")
    await repositories.delete_version("r", 0)

    with pytest.raises(VersionKeptError, match="version 1 is the only one of repository 'r'"):
        await repositories.delete_version("r", 1)

    assert await history.held() == {1: "A"}


async def test_a_protected_version_cannot_be_deleted_until_it_is_unprotected(
    history: History, repositories: Repositories
) -> None:
    await history.make("A", "B")
    await repositories.protect_version("r", 1)
    assert [version.protected for version in await repositories.versions("r")] == [
        False,
        True,
        False,
    ]

    with pytest.raises(VersionKeptError, match="version 1 of repository 'r' is protected"):
        await repositories.delete_version("r", 1)
    assert await numbers(repositories) == [0, 1, 2]

    await repositories.protect_version("r", 1, protected=False)
    await repositories.delete_version("r", 1)
    assert await numbers(repositories) == [0, 2]


async def test_what_does_not_exist_cannot_be_deleted_or_protected(
    history: History, repositories: Repositories
) -> None:
    await history.make("A", "B")
    await repositories.delete_version("r", 1)

    for number in (1, 7):
        for change in (repositories.delete_version, repositories.protect_version):
            with pytest.raises(
                VersionNotFoundError,
                match=f"repository 'r' has no complete version {number}; its latest is 2",
            ):
                await change("r", number)
    with pytest.raises(RepositoryNotFoundError):
        await repositories.delete_version("nowhere", 0)
    with pytest.raises(RepositoryNotFoundError):
        await repositories.protect_version("nowhere", 0)


# --- at the same time ---------------------------------------------------------------------------


async def test_deletion_waits_for_a_version_in_the_making_or_says_that_it_would_have_to(
    history: History, repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    await history.make("A")

    async with asyncio.TaskGroup() as tasks:
        async with repositories.new_version(R) as version:
            await version.set_content(await shelf.packages("B"))
            with pytest.raises(RepositoryBusyError, match="repository 'r' is busy"):
                await repositories.delete_version("r", 1, wait=False)
            deletion = tasks.create_task(repositories.delete_version("r", 1))
            await until_someone_waits(database)

    assert await history.told() == {0: ("", ""), 2: ("B", "")}
    assert deletion.result() == await repositories.version("r", 2)


async def test_of_two_deletions_of_one_version_one_finds_it_gone(
    history: History, repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    await history.make("A", "B")

    async with repositories.new_version(R):
        tasks = [asyncio.create_task(repositories.delete_version("r", 1)) for _ in range(2)]
        await until_someone_waits(database, 2)
    results = await asyncio.gather(*tasks, return_exceptions=True)

    (failure,) = [result for result in results if isinstance(result, Exception)]
    assert isinstance(failure, VersionNotFoundError)
    assert await numbers(repositories) == [0, 2]


async def test_deletion_discards_what_a_dead_process_left(
    history: History, repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    await history.make("AB", "BC")
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO repository_version (repository_id, number) VALUES (1, 3)"
        )
        await connection.execute("UPDATE repository_content SET removed = 3 WHERE removed IS NULL")

    await repositories.delete_version("r", 1)

    assert await history.held() == {0: "", 2: "BC"}


async def test_a_version_that_is_deleted_while_it_is_read_is_read_to_its_end(
    history: History, repositories: Repositories, shelf: Shelf
) -> None:
    await history.make("ABC", "AD")

    batches = repositories.content_ids("r", 1, 1)
    found = await anext(batches)
    await repositories.delete_version("r", 1)
    found += [unit async for batch in batches for unit in batch]

    assert found == sorted(await shelf.packages("A", "B", "C"))


async def test_a_base_that_is_deleted_meanwhile_still_says_what_an_addition_replaces(
    repositories: Repositories, shelf: Shelf
) -> None:
    """What is added on top of a base replaces what the base has: the new file, not the other one
    that the base brought in.
    """
    (old,), (new,) = await shelf.files("a", body="one"), await shelf.files("a", body="two")
    source = Repository(name="source")
    for units in ([old], []):
        async with repositories.new_version(source) as version:
            await version.set_content(units)

    async with repositories.new_version(R, base=("source", 1)) as version:
        await repositories.delete_version("source", 1)
        await version.add_content([new])

    assert [ids async for ids in repositories.content_ids("r")] == [[new]]


# --- retention --------------------------------------------------------------------------------


async def test_a_repository_that_retains_one_version_has_one(
    history: History, repositories: Repositories
) -> None:
    await history.make("A", "AB", "ABC", repository=Repository(name="r", retain_versions=1))

    assert await history.told() == {3: ("ABC", "")}
    assert (await repositories.version("r")).present == 3


async def test_lowering_what_is_retained_deletes_the_surplus_at_once(
    history: History, repositories: Repositories
) -> None:
    await history.make("A", "AB", "ABC", "ABCD")

    await repositories.ensure(Repository(name="r", retain_versions=2))

    assert await history.told() == {3: ("ABC", ""), 4: ("D", "")}


async def test_protected_versions_are_not_counted_and_stay(
    history: History, repositories: Repositories
) -> None:
    await history.make("A", "B", "C")
    await repositories.protect_version("r", 1)

    await history.make("D", "E", repository=Repository(name="r", retain_versions=2))

    assert await history.held() == {1: "A", 4: "D", 5: "E"}
    assert await history.told() == {1: ("A", ""), 4: ("D", "A"), 5: ("E", "D")}


async def test_an_attempt_without_a_change_deletes_the_surplus_too(
    history: History, repositories: Repositories
) -> None:
    """What keeps a completed version from its retention, a lost connection say, is made up for."""
    await history.make("A", "B", "C")

    async with repositories.new_version(Repository(name="r", retain_versions=1)):
        pass

    assert await history.told() == {3: ("C", "")}


async def test_a_failed_attempt_deletes_nothing(
    history: History, repositories: Repositories
) -> None:
    await history.make("A", "B")

    async def fail() -> None:
        async with repositories.new_version(Repository(name="r", retain_versions=1)):
            raise RuntimeError("upstream burnt down")

    with pytest.raises(RuntimeError, match="upstream burnt down"):
        await fail()

    assert await numbers(repositories) == [0, 1, 2]


async def test_retention_costs_one_query_when_nothing_is_to_go(
    history: History, repositories: Repositories, database: Database
) -> None:
    await history.make("A", "B")

    async def cost(repository: Repository) -> int:
        await repositories.ensure(repository)
        before = database.round_trips
        async with repositories.new_version(repository):
            pass
        return database.round_trips - before

    keeping_all = await cost(R)
    assert await cost(Repository(name="r", retain_versions=9)) == keeping_all + 1


async def until_someone_waits(database: Database, count: int = 1) -> None:
    async with database.connection() as connection:
        waiting = 0
        while waiting < count:
            cursor = await connection.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            )
            ((waiting,),) = await cursor.fetchall()
