"""The membership of versions, while they are made and after."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import ImmutableVersionError, NotContentError
from flowsync.model.repository import Repository, RepositoryVersion
from tests.integration.catalog.units import Package, Shelf

R = Repository(name="r")
UNKNOWN = b"\x01" * 16


async def collect(batches: AsyncIterator[list[bytes]]) -> set[bytes]:
    return {unit async for batch in batches for unit in batch}


async def make(
    repositories: Repositories, add: Iterable[bytes] = (), remove: Iterable[bytes] = ()
) -> RepositoryVersion | None:
    async with repositories.new_version(R) as version:
        await version.add_content(add)
        await version.remove_content(remove)
    return version.completed


async def present(repositories: Repositories, number: int | None = None) -> set[bytes]:
    return await collect(repositories.content_ids("r", number))


async def test_versions_know_what_they_added_and_removed_relative_to_each_earlier_one(
    repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages("0", "1", "2", "3")
    await make(repositories, add=units)
    await make(repositories, remove=units[:2])
    await make(repositories, add=units[:1])

    assert await present(repositories, 1) == set(units)
    assert await present(repositories, 2) == set(units[2:])
    assert await present(repositories, 3) == {units[0], units[2], units[3]}
    assert await collect(repositories.added_ids("r", 3)) == {units[0]}
    assert await collect(repositories.removed_ids("r", 3)) == set()
    assert await collect(repositories.added_ids("r", 3, base=1)) == set()
    assert await collect(repositories.removed_ids("r", 3, base=1)) == {units[1]}
    assert await collect(repositories.added_ids("r", 3, base=0)) == {units[0], units[2], units[3]}
    assert await collect(repositories.added_ids("r", 2)) == set()
    assert await collect(repositories.removed_ids("r", 2)) == set(units[:2])


async def test_adding_all_then_removing_all_makes_no_version(
    repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages("a", "b", "c")

    async with repositories.new_version(R) as version:
        assert await version.add_content(units) == 3
        assert await version.remove_content(units) == 3
        assert await collect(version.content_ids()) == set()

    assert version.completed is None
    assert [found.number for found in await repositories.versions("r")] == [0]


async def test_removing_all_then_adding_all_makes_no_version(
    repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages("a", "b", "c")
    await make(repositories, add=units)

    async with repositories.new_version(R) as version:
        assert await version.remove_content(units) == 3
        assert await version.add_content(units) == 3

    assert version.completed is None
    assert await present(repositories) == set(units)


async def test_interleaved_changes_end_with_the_net_difference(
    repositories: Repositories, shelf: Shelf
) -> None:
    a, b, c, d = await shelf.packages("a", "b", "c", "d")
    await make(repositories, add=[a, b])

    async with repositories.new_version(R) as version:
        await version.add_content([c])
        await version.remove_content([a, c])
        await version.add_content([a, d])
        await version.remove_content([b])
        await version.add_content([c, b])
        await version.remove_content([b, d])
        await version.add_content([d])
        assert await collect(version.content_ids()) == {a, c, d}

    assert await present(repositories, 2) == {a, c, d}
    assert await collect(repositories.added_ids("r", 2)) == {c, d}
    assert await collect(repositories.removed_ids("r", 2)) == {b}
    assert version.completed is not None
    assert (version.completed.added, version.completed.removed, version.completed.present) == (
        2,
        1,
        3,
    )


async def test_fresh_version_starts_with_the_previous_one(
    repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages("a", "b")
    await make(repositories, add=units)

    async with repositories.new_version(R) as version:
        assert await collect(version.content_ids()) == set(units)
        assert (version.repository, version.number, version.previous) == ("r", 2, 1)


async def test_only_units_that_were_absent_are_added(
    repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages("a", "b", "c")
    await make(repositories, add=units[:2])

    async with repositories.new_version(R) as version:
        assert await version.add_content(units) == 1
        assert await version.add_content(units) == 0

    assert version.completed is not None
    assert (version.completed.added, version.completed.present) == (1, 3)


async def test_removing_absent_content_is_ignored(repositories: Repositories, shelf: Shelf) -> None:
    a, b = await shelf.packages("a", "b")
    await make(repositories, add=[a])

    async with repositories.new_version(R) as version:
        assert await version.remove_content([b, UNKNOWN]) == 0

    assert version.completed is None


async def test_no_operation_makes_no_version(repositories: Repositories) -> None:
    async with repositories.new_version(R) as version:
        pass

    assert version.completed is None
    assert [found.number for found in await repositories.versions("r")] == [0]


async def test_empty_sets_make_no_version(repositories: Repositories, shelf: Shelf) -> None:
    async with repositories.new_version(R) as version:
        assert await version.add_content([]) == 0
        assert await version.remove_content([]) == 0
        assert await version.associate([], seen=True) == set()
        assert await version.remove_unseen() == 0
        await version.set_content([])

    assert version.completed is None


async def test_unknown_unit_is_not_added(repositories: Repositories, shelf: Shelf) -> None:
    assert await make(repositories, add=[UNKNOWN]) is None

    (known,) = await shelf.packages("a")
    version = await make(repositories, add=[UNKNOWN, known])

    assert version is not None
    assert version.added == 1


@pytest.mark.parametrize("thing", ["text", 7, None, b"short", b"longer than an id is", object()])
async def test_what_is_no_content_is_refused(repositories: Repositories, thing: object) -> None:
    async with repositories.new_version(R) as version:
        for change in (version.add_content, version.remove_content, version.set_content):
            with pytest.raises(
                NotContentError, match="expected a content unit or its id of 16 bytes, found"
            ):
                await change([thing])  # type: ignore[list-item]
            with pytest.raises(AssertionError):
                await change([thing])  # type: ignore[list-item]


async def test_id_in_place_of_a_list_is_refused(repositories: Repositories) -> None:
    async with repositories.new_version(R) as version:
        with pytest.raises(NotContentError):
            await version.add_content(UNKNOWN)  # type: ignore[arg-type]


async def test_units_are_given_as_content_too(repositories: Repositories, shelf: Shelf) -> None:
    units = await shelf.packages("a", "b")

    async with repositories.new_version(R) as version:
        await version.add_content([Package(name="a"), units[1]])
        await version.remove_content([Package(name="b")])

    assert await present(repositories) == {units[0]}


async def test_mixed_operations_without_effect_make_no_version(
    repositories: Repositories, shelf: Shelf
) -> None:
    a, b = await shelf.packages("a", "b")
    await make(repositories, add=[a])

    async with repositories.new_version(R) as version:
        await version.remove_content([b, UNKNOWN])
        await version.add_content([a, UNKNOWN])
        await version.add_content([b])
        await version.remove_content([a, b])
        await version.add_content([a])
        await version.set_content([a])

    assert version.completed is None


async def test_ended_version_cannot_be_changed(repositories: Repositories, shelf: Shelf) -> None:
    units = await shelf.packages("a", "b")
    async with repositories.new_version(R) as version:
        await version.add_content(units)

    for change in (version.add_content, version.remove_content, version.set_content):
        with pytest.raises(ImmutableVersionError, match="version 1 of repository 'r' has ended"):
            await change(units)
    with pytest.raises(ImmutableVersionError):
        await version.associate(units, seen=True)
    with pytest.raises(ImmutableVersionError):
        await version.remove_unseen()
    assert await present(repositories) == set(units)


async def test_set_content_leaves_exactly_the_given_units(
    repositories: Repositories, shelf: Shelf
) -> None:
    a, b, c, d = await shelf.packages("a", "b", "c", "d")
    await make(repositories, add=[a, b])

    async with repositories.new_version(R) as version:
        await version.add_content([c])
        await version.set_content([b, d, d])
        assert await collect(version.content_ids()) == {b, d}

    assert version.completed is not None
    assert (version.completed.added, version.completed.removed, version.completed.present) == (
        1,
        1,
        2,
    )


async def test_set_content_of_nothing_empties_the_version(
    repositories: Repositories, shelf: Shelf
) -> None:
    await make(repositories, add=await shelf.packages("a", "b"))

    async with repositories.new_version(R) as version:
        await version.set_content([])

    assert await present(repositories, 2) == set()


async def test_counts_are_right_and_rows_are_few(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    units = await shelf.packages(*map(str, range(100)))
    async with repositories.new_version(R) as first:
        for start in (0, 30, 60):
            await first.add_content(units[start : start + 40])
    async with repositories.new_version(R) as second:
        await second.remove_content(units[:20])
        await second.remove_content(units[10:60])

    assert first.completed is not None
    assert second.completed is not None
    assert (first.completed.present, first.completed.added, first.completed.removed) == (
        100,
        100,
        0,
    )
    assert (second.completed.present, second.completed.added, second.completed.removed) == (
        40,
        0,
        60,
    )
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT added, removed, count(*) FROM repository_content GROUP BY 1, 2 ORDER BY 2"
        )
        assert await cursor.fetchall() == [(1, 2, 60), (1, None, 40)]


async def test_associate_gives_what_was_absent(repositories: Repositories, shelf: Shelf) -> None:
    a, b, c = await shelf.packages("a", "b", "c")
    await make(repositories, add=[a])

    async with repositories.new_version(R) as version:
        assert await version.associate([b, a, b, UNKNOWN], seen=False) == {b}
        assert await version.associate([b, c], seen=False) == {c}
        await version.remove_content([a, c])
        assert await version.associate([a, b, c], seen=False) == {a, c}


async def test_units_keep_the_lines_in_which_they_were_listed_when_they_were_added(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    a, b, c, d = await shelf.packages("a", "b", "c", "d")
    async with repositories.new_version(R) as version:
        await version.associate([b, a, c], seen=True, lines=[7, None, 9])
    async with repositories.new_version(R) as version:
        await version.associate([b, a], seen=True, lines=[8, 1])
        await version.add_content([d])

    async with database.connection() as connection:
        cursor = await connection.execute("SELECT content_id, line FROM repository_content")
        assert dict(await cursor.fetchall()) == {a: None, b: 7, c: 9, d: None}


async def test_mirror_removes_what_was_not_seen(repositories: Repositories, shelf: Shelf) -> None:
    a, b, c, d = await shelf.packages("a", "b", "c", "d")
    await make(repositories, add=[a, b])

    async with repositories.new_version(R) as version:
        await version.add_content([d])
        await version.associate([b, c], seen=True)
        await version.associate([b], seen=True)
        assert await version.remove_unseen() == 2
        assert await collect(version.content_ids()) == {b, c}

    assert version.completed is not None
    assert (version.completed.added, version.completed.removed, version.completed.present) == (
        1,
        1,
        2,
    )


async def test_units_associated_unseen_are_not_kept_by_a_mirror(
    repositories: Repositories, shelf: Shelf
) -> None:
    a, b = await shelf.packages("a", "b")

    async with repositories.new_version(R) as version:
        await version.associate([a], seen=False)
        await version.associate([b], seen=True)
        assert await version.remove_unseen() == 1

    assert await present(repositories) == {b}


async def test_associating_a_batch_is_one_round_trip(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    units = await shelf.packages(*map(str, range(500)))
    await make(repositories, add=units[:250])

    async with repositories.new_version(R) as version:
        before = database.round_trips
        added = await version.associate(units, seen=True)

        assert database.round_trips - before == 1
        assert added == set(units[250:])


async def test_ids_come_in_order_and_in_batches(repositories: Repositories, shelf: Shelf) -> None:
    units = sorted(await shelf.packages(*map(str, range(10))))

    async with repositories.new_version(R) as version:
        await version.add_content(units)
        assert [ids async for ids in version.content_ids(4)] == [units[:4], units[4:8], units[8:]]

    forward = [ids async for ids in repositories.content_ids("r", 1, 4)]
    backward = [ids async for ids in repositories.content_ids("r", 1, 4, reverse=True)]
    assert forward == [units[:4], units[4:8], units[8:]]
    assert backward == [units[:5:-1], units[5:1:-1], units[1::-1]]


async def test_ids_of_one_type(repositories: Repositories, shelf: Shelf) -> None:
    packages = await shelf.packages("a", "b", "c")
    files = await shelf.files("f", "g")
    await make(repositories, add=[*packages[:2], files[0]])

    found = await collect(repositories.content_ids("r", type_name="test.package"))

    assert found == set(packages[:2])


async def test_iteration_may_be_left_early(repositories: Repositories, shelf: Shelf) -> None:
    units = sorted(await shelf.packages("a", "b", "c"))
    await make(repositories, add=units)

    async with aclosing(repositories.content_ids("r", 1, 2)) as batches:
        async for batch in batches:
            assert batch == units[:2]
            break


async def test_several_tasks_may_change_one_version(
    repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages(*map(str, range(50)))

    async with repositories.new_version(R) as version, asyncio.TaskGroup() as tasks:
        for start in range(0, 50, 5):
            tasks.create_task(version.add_content(units[start : start + 10]))

    assert await present(repositories) == set(units)


async def test_changes_wait_for_completion_to_be_seen(
    repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages("a")

    async with repositories.new_version(R) as version:
        await version.add_content(units)
        assert await present(repositories) == set()
        assert isinstance(version, NewVersion)
        assert version.completed is None

    assert await present(repositories) == set(units)
