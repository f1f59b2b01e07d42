"""Sessions that the server ends, whatever its reason: a lost connection, never an error of the
statement.
"""

import asyncio

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.sessions import Connection
from flowsync.errors import ConnectionLostError

LIMITS = ["idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"]


async def until_ended(database: Database, pid: int) -> None:
    """Return when the server has no such session any more."""
    async with database.dedicated() as watching:
        while True:
            cursor = await watching.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (pid,))
            if await cursor.fetchone() is None:
                return
            await asyncio.sleep(0.01)


async def let_it_end(database: Database, connection: Connection, limit: str) -> None:
    """Have the server end the session by that setting, and return when it has."""
    if limit == "transaction_timeout" and connection.info.server_version < 170_000:
        pytest.skip("the server has no transaction_timeout")
    await connection.execute(f"SET {limit} = '20ms'")
    await until_ended(database, connection.info.backend_pid)


async def test_pooled_session_that_was_idle_for_too_long_fails_no_statement(
    database: Database,
) -> None:
    async with database.connection() as connection:
        await let_it_end(database, connection, "idle_session_timeout")

    assert await database.fetch("repository_names") == []


@pytest.mark.parametrize("limit", LIMITS[1:])
async def test_transaction_that_the_server_ends_is_a_lost_connection(
    database: Database, limit: str
) -> None:
    with pytest.raises(ConnectionLostError, match="timeout"):  # noqa: PT012
        async with database.transaction() as connection:
            await let_it_end(database, connection, limit)
            await database.run(connection, "repository_names")

    assert await database.fetch("repository_names") == []


@pytest.mark.parametrize("limit", LIMITS)
async def test_dedicated_session_that_the_server_ends_is_a_lost_connection(
    database: Database, limit: str
) -> None:
    with pytest.raises(ConnectionLostError, match="timeout"):  # noqa: PT012
        async with database.dedicated() as connection:
            if limit != "idle_session_timeout":
                await connection.execute("BEGIN")
            await let_it_end(database, connection, limit)
            await database.run(connection, "repository_names")


async def test_limits_of_time_that_the_database_sets_do_not_reach_sessions(conninfo: str) -> None:
    name = conninfo_to_dict(conninfo)["dbname"]
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for limit in (*LIMITS[:2], "statement_timeout", "lock_timeout"):
            connection.execute(f"ALTER DATABASE {name} SET {limit} = '300ms'")
    database = Database(conninfo)
    await database.open()

    for lent in (database.connection(), database.dedicated(), database.transaction()):
        async with lent as connection:
            await connection.execute("SELECT pg_sleep(0.5)")
            await asyncio.sleep(0.5)
            cursor = await connection.execute("SELECT 1")
            assert await cursor.fetchone() == (1,)
    await database.close()
