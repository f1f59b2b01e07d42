"""The references that are checked once a statement: nothing dangles, whoever adds and removes at
the same time.
"""

import asyncio
from typing import Final, NamedTuple

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.schema import migrate, migrations
from flowsync.catalog.postgres.sessions import Connection
from flowsync.errors import CatalogError
from tests.integration.catalog.waiting import lock_waiters

# One remote and one repository with the id 1, and ten units with a path each.
ROWS: Final = (
    b"INSERT INTO remote (name, url, policy) VALUES ('u', 'http://u.example/', 'on_demand')",
    b"INSERT INTO repository (name) VALUES ('r')",
    (
        b"INSERT INTO content (id, type, fields) SELECT decode(lpad(n::text, 32, '0'), 'hex'), "
        b"'t', '{}' FROM generate_series(1, 10) n"
    ),
    b"INSERT INTO content_artifact (content_id, relative_path) SELECT id, 'p' FROM content",
)


class Reference(NamedTuple):
    """Ten rows that name a row of another table, ten of which five name one that is not there, and
    the removal of what they name.
    """

    tally: bytes
    add: bytes
    dangle: bytes
    remove: bytes


REFERENCES: Final = {
    "source to remote": Reference(
        b"SELECT count(*) FROM remote_artifact",
        b"INSERT INTO remote_artifact (content_id, relative_path, remote_id, urls) SELECT id, "
        b"'p', 1, '{u}' FROM content",
        b"INSERT INTO remote_artifact (content_id, relative_path, remote_id, urls) "
        b"SELECT id, 'p', CASE WHEN id < '\\x00000000000000000000000000000006' THEN 1 ELSE "
        b"404 END, '{u}' FROM content",
        b"DELETE FROM remote",
    ),
    "membership to repository": Reference(
        b"SELECT count(*) FROM repository_content",
        b"INSERT INTO repository_content (content_id, repository_id, added) SELECT id, 1, 1 "
        b"FROM content",
        b"INSERT INTO repository_content (content_id, repository_id, added) "
        b"SELECT id, CASE WHEN id < '\\x00000000000000000000000000000006' THEN 1 ELSE 404 "
        b"END, 1 FROM content",
        b"DELETE FROM repository",
    ),
}

each_reference = pytest.mark.parametrize("reference", REFERENCES.values(), ids=list(REFERENCES))
REFUSED: Final = r"names (remote|repository) \d+, which is not there"


async def fill(connection: Connection) -> None:
    for statement in ROWS:
        await connection.execute(statement)


async def run(database: Database, statement: bytes) -> None:
    async with database.transaction() as connection:
        await connection.execute(statement)


async def rows(database: Database, reference: Reference) -> int:
    async with database.connection() as connection:
        (found,) = await (await connection.execute(reference.tally)).fetchone() or (-1,)
    return int(found)


@pytest.fixture
async def filled(database: Database) -> Database:
    async with database.connection() as connection:
        await fill(connection)
    return database


@each_reference
async def test_statement_with_a_row_that_names_nothing_is_refused(
    filled: Database, reference: Reference
) -> None:
    with pytest.raises(CatalogError, match=REFUSED):
        await run(filled, reference.dangle)
    assert await rows(filled, reference) == 0


@each_reference
async def test_what_names_a_removed_row_goes_with_it(
    filled: Database, reference: Reference
) -> None:
    await run(filled, reference.add)
    assert await rows(filled, reference) == 10
    await run(filled, reference.remove)
    assert await rows(filled, reference) == 0


@each_reference
async def test_removal_waits_for_rows_that_are_being_added(
    filled: Database, reference: Reference
) -> None:
    async with filled.transaction() as connection:
        await connection.execute(reference.add)
        removal = asyncio.create_task(run(filled, reference.remove))
        await lock_waiters(filled, 1)
    await removal
    assert await rows(filled, reference) == 0


@each_reference
async def test_rows_that_name_what_is_being_removed_wait_and_are_refused(
    filled: Database, reference: Reference
) -> None:
    async with filled.transaction() as connection:
        await connection.execute(reference.remove)
        addition = asyncio.create_task(run(filled, reference.add))
        await lock_waiters(filled, 1)
    with pytest.raises(CatalogError, match=REFUSED):
        await addition
    assert await rows(filled, reference) == 0


@each_reference
async def test_rows_of_an_older_database_keep_what_they_name(
    empty_conninfo: str, reference: Reference
) -> None:
    """Its schema had foreign keys for it."""
    database = Database(empty_conninfo)
    async with database.dedicated() as connection:
        await migrate(connection, migrations()[:5])
        await fill(connection)
        await connection.execute(reference.add)
    await database.open()
    try:
        await run(database, reference.remove)
        assert await rows(database, reference) == 0
        with pytest.raises(CatalogError, match=REFUSED):
            await run(database, reference.dangle)
    finally:
        await database.close()
