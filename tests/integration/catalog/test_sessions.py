"""Sessions outside the pool, on a real server: which are kept, which are not, and that nothing of
one loan is seen in the next.
"""

import asyncio
from contextlib import AsyncExitStack

import psycopg
import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.sessions import Connection, Sessions
from flowsync.errors import CatalogError


async def test_session_is_lent_again_without_what_its_borrower_left_in_it(
    database: Database,
) -> None:
    async with database.dedicated() as connection:
        session = await _number(connection)
        await connection.execute("CREATE TEMPORARY TABLE mine ()")
        await connection.execute("SET lock_timeout = '1min'")
        await connection.execute("SELECT pg_advisory_lock(1)")
        assert connection.autocommit

    async with database.dedicated() as connection:
        assert await _number(connection) == session
        cursor = await connection.execute(
            "SELECT to_regclass('mine'), current_setting('lock_timeout'), "
            "current_setting('TimeZone'), "
            "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = "
            "pg_backend_pid()), "
            "(SELECT count(*) FROM pg_prepared_statements)"
        )
        assert await cursor.fetchone() == (None, "0", "UTC", 0, 0)
        assert connection.autocommit


async def test_statements_run_in_every_loan_however_often_they_ran_in_the_one_before(
    database: Database,
) -> None:
    """The symptom while it was made: "prepared statement does not exist" in the second sync of an
    engine.
    """
    sessions = set()
    for uses in (1, 2, 3, 1, 2, 3):
        async with database.dedicated() as connection:
            sessions.add(connection.info.backend_pid)
            for _ in range(uses):
                cursor = await database.run(connection, "repository_names")
                assert await cursor.fetchall() == []

    assert len(sessions) == 1


async def test_sessions_lent_at_once_are_different_ones(database: Database) -> None:
    async with database.dedicated() as one, database.dedicated() as other:
        assert await _number(one) != await _number(other)


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT 1 / 0"])
async def test_session_is_cleared_and_lent_again_when_its_block_fails(
    database: Database, statement: str
) -> None:
    async def fail() -> None:
        async with database.dedicated() as connection:
            sessions.append(await _number(connection))
            await connection.execute("SELECT pg_advisory_lock(1)")
            await connection.execute(statement)
            raise ZeroDivisionError

    sessions: list[int] = []
    with pytest.raises((ZeroDivisionError, CatalogError)):
        await fail()

    async with database.dedicated() as connection:
        sessions.append(await _number(connection))
        assert await _locks(connection) == 0
    assert sessions[0] == sessions[1]


async def test_locks_of_a_cancelled_borrower_are_free_at_once(database: Database) -> None:
    async def hold() -> None:
        async with database.dedicated() as connection:
            await connection.execute("SELECT pg_advisory_lock(1)")
            held.set()
            await asyncio.Event().wait()

    held = asyncio.Event()
    holder = asyncio.create_task(hold())
    await held.wait()
    holder.cancel()
    await asyncio.wait([holder])

    async with database.connection() as connection:
        assert await _locks(connection) == 0


async def test_session_with_an_unfinished_transaction_ends_with_its_block(
    database: Database,
) -> None:
    async with database.dedicated() as connection:
        await connection.execute("BEGIN")

    assert connection.closed


async def test_block_that_went_well_stays_well_when_its_session_is_lost(
    database: Database,
) -> None:
    async with database.dedicated() as connection:
        await _end_session(database, await _number(connection))

    assert connection.closed


async def test_session_that_the_server_ended_is_not_lent_again(database: Database) -> None:
    async with database.dedicated() as connection:
        session = await _number(connection)
    await _end_session(database, session)

    async with database.dedicated() as connection:
        assert await _number(connection) != session


async def test_session_that_nobody_wants_is_closed(conninfo: str) -> None:
    sessions = Sessions(conninfo, "a database", timeout=30.0, idle=0.01)

    async with sessions.lent() as connection:
        session = await _number(connection)

    with psycopg.connect(conninfo, autocommit=True) as watching:
        await _gone(watching, session)
    await sessions.close()


async def test_no_more_than_eight_sessions_are_kept(conninfo: str) -> None:
    sessions = Sessions(conninfo, "a database", timeout=30.0)

    async with AsyncExitStack() as loans:
        lent = [await loans.enter_async_context(sessions.lent()) for _ in range(10)]

    assert sum(not connection.closed for connection in lent) == 8
    await sessions.close()
    assert all(connection.closed for connection in lent)


async def test_session_that_comes_back_after_the_end_is_closed(conninfo: str) -> None:
    sessions = Sessions(conninfo, "a database", timeout=30.0)

    async with sessions.lent() as connection:
        await sessions.close()

    assert connection.closed


async def test_refused_session_is_an_error_that_names_the_database() -> None:
    sessions = Sessions("host=127.0.0.1 port=1", "the books", timeout=30.0)

    with pytest.raises(CatalogError, match=r"^the books: .*refused"):
        async with sessions.lent():
            pass


async def _number(connection: Connection) -> int:
    cursor = await connection.execute("SELECT pg_backend_pid()")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def _locks(connection: Connection) -> int:
    """Return how many advisory locks are held in the database."""
    cursor = await connection.execute(
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
        "WHERE locktype = 'advisory' AND datname = current_database()"
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def _end_session(database: Database, session: int) -> None:
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT pg_terminate_backend(%s::integer, 10000)", [session]
        )
        assert await cursor.fetchone() == (True,)


async def _gone(watching: psycopg.Connection, session: int) -> None:
    alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    async with asyncio.timeout(20):
        while watching.execute(alive, [session]).fetchone() != (0,):  # noqa: ASYNC110 - another process's event
            await asyncio.sleep(0.005)
