"""The tables that the making of versions has for itself: they stay with the session, and nothing in
them does.
"""

import re

import pytest

from flowsync.catalog.postgres.database import Database, statement
from flowsync.catalog.versions.repositories import Repositories
from flowsync.catalog.versions.versions import locked_connection
from flowsync.model.repository import Repository
from tests.integration.catalog.units import Shelf

FEW, MANY = 3, 3000
"""Units whose ids take less room than what is emptied, and more."""

R = Repository(name="r")


@pytest.mark.parametrize("count", [FEW, MANY])
async def test_what_one_mirror_saw_is_not_seen_by_the_next(
    repositories: Repositories, shelf: Shelf, count: int
) -> None:
    units = await shelf.packages(*map(str, range(count)))
    async with repositories.new_version(R) as version:
        await version.associate(units, seen=True)
        await version.remove_unseen()

    async with repositories.new_version(R) as version:
        await version.associate(units[:1], seen=True)
        removed = await version.remove_unseen()

    assert removed == count - 1


async def test_what_a_failed_mirror_saw_is_not_seen_by_the_next(
    repositories: Repositories, shelf: Shelf
) -> None:
    a, b = await shelf.packages("a", "b")
    async with repositories.new_version(R) as version:
        await version.add_content([a, b])

    async def fail() -> None:
        async with repositories.new_version(R) as version:
            await version.associate([b], seen=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with repositories.new_version(R) as version:
        await version.associate([a], seen=True)
        removed = await version.remove_unseen()

    assert removed == 1


async def test_all_tables_that_a_version_begins_with_are_emptied(database: Database) -> None:
    """One that is made with the others and forgotten at the end would show the next version the
    rows of this one.
    """
    async with locked_connection(database, "r", 1, wait=False) as connection:
        cursor = await connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND "
            "relkind = 'r'"
        )
        made = {name for (name,) in await cursor.fetchall()}

    emptied = re.findall(r"'pg_temp\.(\w+)'", statement("empty_scratch").decode())
    assert sorted(emptied) == sorted(made)


@pytest.mark.parametrize(("rows", "same"), [(FEW, True), (MANY, False)])
async def test_tables_stay_for_the_next_version_unless_they_have_grown(
    database: Database, rows: int, same: bool
) -> None:
    """Made anew for each version, they were a fifth of a small sync, and left dead rows in the
    server's own catalogue.
    """
    found = []
    for _ in range(2):
        async with locked_connection(database, "r", 1, wait=False) as connection:
            cursor = await connection.execute(
                "SELECT pg_backend_pid(), 'pg_temp.addition'::regclass::oid, count(*) FROM "
                "pg_temp.addition"
            )
            found.append(await cursor.fetchone())
            await connection.execute(
                "INSERT INTO pg_temp.addition SELECT decode(md5(n::text), 'hex') FROM "
                "generate_series(1, %s) n",
                [rows],
            )

    first, second = found
    assert first is not None
    assert second is not None
    (session, table, _), (next_session, next_table, left) = first, second
    assert next_session == session
    assert (next_table == table, left) == (same, 0)
