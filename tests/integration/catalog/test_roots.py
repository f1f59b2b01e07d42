"""The roots of versions: equal for equal content, wherever and however it came together."""

import asyncio
from collections.abc import Iterable

import pytest
from psycopg.conninfo import make_conninfo

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.schema import migrate, migrations
from flowsync.catalog.versions.new_version import BESIDE
from flowsync.catalog.versions.repositories import Repositories
from flowsync.catalog.versions.versions import AT_ONCE
from flowsync.errors import RepositoryVersionError
from flowsync.model.content import EMPTY_STATE, root_of, with_units
from flowsync.model.repository import Repository
from tests.integration.catalog.units import Package, Shelf
from tests.postgres import temporary_database

R = Repository(name="r")


def expected(units: Iterable[bytes]) -> str:
    return root_of(with_units(EMPTY_STATE, list(units))).hex()


async def make(repositories: Repositories, name: str, units: Iterable[bytes]) -> str:
    async with repositories.new_version(Repository(name=name)) as version:
        await version.set_content(units)
    assert version.completed is not None
    return version.completed.root


async def roots(repositories: Repositories) -> dict[int, str]:
    return {version.number: version.root for version in await repositories.versions("r")}


async def forget_roots(database: Database) -> None:
    """Leave versions as a flowsync left them that knew no roots."""
    async with database.connection() as connection:
        await connection.execute("UPDATE repository_version SET root = NULL, root_state = NULL")


async def test_root_is_that_of_the_units_and_is_kept(
    repositories: Repositories, shelf: Shelf
) -> None:
    a, b, c = await shelf.packages("a", "b", "c")

    made = [await make(repositories, "r", units) for units in ([b, a], [c, b], [])]

    assert made == [expected([a, b]), expected([b, c]), expected([])]
    assert await roots(repositories) == {0: expected([]), **dict(enumerate(made, start=1))}


@pytest.mark.parametrize("count", [1, 500, 501, AT_ONCE, AT_ONCE + 1])
async def test_root_is_that_of_the_units_however_they_are_read(
    repositories: Repositories, shelf: Shelf, count: int
) -> None:
    units = await shelf.packages(*map(str, range(count + 1)))

    made = [await make(repositories, "r", units), await make(repositories, "r", units[:1])]

    assert made == [expected(units), expected(units[:1])]


async def test_root_of_a_large_change_is_that_of_the_units(
    repositories: Repositories, shelf: Shelf
) -> None:
    """Computed beside the check, it sees what replaced older units, and what the version had
    before.
    """
    paths = [f"{number}" for number in range(BESIDE)]
    old = await shelf.files(*paths[:5], "kept", body="one")
    new = await shelf.files(*paths, body="two")

    made = [await make(repositories, "r", old)]
    async with repositories.new_version(R) as version:
        await version.add_content(new)
    assert version.completed is not None
    made.append(version.completed.root)

    assert made == [expected(old), expected([*new, old[-1]])]
    assert (version.completed.added, version.completed.removed) == (BESIDE, 5)


async def test_large_change_that_cannot_be_makes_no_version(
    repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages(*map(str, range(BESIDE)))
    below = await shelf.put(Package(name="below"), {"pool/7/below": None})

    with pytest.raises(RepositoryVersionError, match="'pool/7/below' below 'pool/7'"):
        await make(repositories, "r", [*units, below])

    assert await roots(repositories) == {0: expected([])}
    assert await make(repositories, "r", units) == expected(units)


async def test_units_in_equal_versions_of_two_repositories_may_have_come_in_any_order(
    repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages(*map(str, range(60)))
    at_once = await make(repositories, "at-once", units)
    async with repositories.new_version(R) as version:
        await version.add_content(reversed(units[20:]))
    async with repositories.new_version(R) as version:
        await version.remove_content(units[30:40])
        await version.add_content(units[:35])
    async with repositories.new_version(R) as version:
        await version.add_content(units[35:40])

    assert version.completed is not None
    assert version.completed.root == at_once


async def test_equal_versions_on_two_databases_have_one_root(
    repositories: Repositories,
    shelf: Shelf,
    database: Database,
    postgres: str,
    migrated_template: str,
) -> None:
    here = await make(repositories, "here", await shelf.packages("a", "b", "c"))

    with temporary_database(postgres, migrated_template) as name:
        other = Database(make_conninfo(postgres, dbname=name))
        await other.open()
        try:
            units = await Shelf(other).packages("c", "a", "b", "more")
            there = await make(Repositories(other), "there", units[:3])
        finally:
            await other.close()

    assert here == there


async def test_versions_on_a_base_have_the_root_of_what_they_hold(
    repositories: Repositories, shelf: Shelf
) -> None:
    a, b, c, d = await shelf.packages("a", "b", "c", "d")
    await make(repositories, "source", [a, b, c])
    await make(repositories, "r", [b, d])

    async with repositories.new_version(R, base=("source", 1)) as version:
        await version.add_content([d])
        await version.remove_content([a])
    rolled_back = await repositories.roll_back("r", 1)

    assert await roots(repositories) == {
        0: expected([]),
        1: expected([b, d]),
        2: expected([b, c, d]),
        3: expected([b, d]),
    }
    assert rolled_back == await repositories.version("r", 3)


async def test_what_replaces_older_content_is_in_the_root(
    repositories: Repositories, shelf: Shelf
) -> None:
    (old, other), (new,) = await shelf.files("a", "b"), await shelf.files("a", body="two")
    await make(repositories, "r", [old, other])

    async with repositories.new_version(R) as version:
        await version.add_content([new])

    assert (await repositories.version("r")).root == expected([new, other])


async def test_deletion_leaves_the_roots_of_all_others_and_the_next_version_goes_on_from_them(
    repositories: Repositories, shelf: Shelf
) -> None:
    a, b, c = await shelf.packages("a", "b", "c")
    for units in ([a], [a, b], [b, c], [c]):
        await make(repositories, "r", units)
    before = await roots(repositories)

    await repositories.delete_version("r", 2)
    await repositories.delete_version("r", 4)

    assert await roots(repositories) == {number: before[number] for number in (0, 1, 3)}
    assert await make(repositories, "r", [a, c]) == expected([a, c])


async def test_versions_of_an_older_flowsync_get_their_roots_when_they_are_looked_at(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    a, b, c, d = await shelf.packages("a", "b", "c", "d")
    for units in ([a, b], [b, c], [a, b, c], [d]):
        await make(repositories, "r", units)
    await repositories.delete_version("r", 2)
    before = await roots(repositories)

    await forget_roots(database)
    assert await roots(repositories) == before

    await forget_roots(database)
    assert (await repositories.version("r", 3)).root == before[3]


async def test_the_first_version_after_an_older_flowsync_has_its_root(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    a, b, c = await shelf.packages("a", "b", "c")
    await make(repositories, "r", [a, b])
    await forget_roots(database)

    assert await make(repositories, "r", [b, c]) == expected([b, c])


async def test_many_may_look_at_versions_of_an_older_flowsync_at_once(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    """Also while one of the versions is deleted."""
    units = await shelf.packages(*map(str, range(12)))
    for number in range(12):
        await make(repositories, "r", units[number:])
    before = await roots(repositories)
    await forget_roots(database)

    async with asyncio.TaskGroup() as tasks:
        for number in (2, 5, 12):
            tasks.create_task(repositories.delete_version("r", number))
        for _ in range(4):
            tasks.create_task(repositories.versions("r"))

    assert await roots(repositories) == {
        number: root for number, root in before.items() if number not in {2, 5, 12}
    }


async def test_a_database_of_the_first_schema_is_brought_forward(empty_conninfo: str) -> None:
    """Its repository has two versions that know neither roots nor protection, and one that nobody
    finished.
    """
    database = Database(empty_conninfo)
    async with database.dedicated() as connection:
        await migrate(connection, migrations()[:1])
        await connection.execute("INSERT INTO repository (name, next_version) VALUES ('r', 2)")
        await connection.execute(
            "INSERT INTO repository_version (repository_id, number, complete, added, present) "
            "VALUES (1, 0, true, 0, 0), (1, 1, true, 2, 2), (1, 2, false, 0, 0)"
        )
    await database.open()
    try:
        units = await Shelf(database).packages("a", "b", "c")
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO repository_content (repository_id, content_id, added) VALUES (1, "
                "%s, 1), (1, %s, 1), (1, %s, 2)",
                units,
            )
        versions = await Repositories(database).versions("r")
    finally:
        await database.close()

    assert [version.root for version in versions] == [expected([]), expected(units[:2])]
    assert [version.protected for version in versions] == [False, False]


async def test_a_version_in_the_making_has_no_root(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    async with repositories.new_version(R) as version:
        await version.add_content([Package(name="a"), *await shelf.packages("b")])
        async with database.connection() as connection:
            cursor = await connection.execute(
                "SELECT root, root_state FROM repository_version WHERE number = 1"
            )
            assert await cursor.fetchall() == [(None, None)]
        assert list(await roots(repositories)) == [0]
