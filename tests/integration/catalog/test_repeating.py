"""Statements that meet other transactions, or lose their connection, on a real server: they are
done again, and no longer than that helps.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from flowsync.catalog.postgres.database import Database, repeated
from flowsync.errors import CatalogConflictError, ConnectionLostError
from tests.integration.catalog.waiting import lock_waiters

REMOTES = {
    "names": ["a", "b"],
    "urls": ["http://new/"] * 2,
    "policies": ["immediate"] * 2,
    "settings": ["{}"] * 2,
}


@pytest.fixture
async def two_remotes(database: Database) -> None:
    """Record the remotes "a" and "b", with other URLs than `REMOTES` has."""
    await database.fetch("save_remotes", {**REMOTES, "urls": ["http://old/"] * 2})


@asynccontextmanager
async def other(conninfo: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """Give somebody else's connection, in a transaction that waits long before it looks for
    deadlocks, so that another one is the victim.
    """
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        await connection.execute("SET deadlock_timeout = '1min'")
        yield connection


async def change(connection: psycopg.AsyncConnection, name: str) -> None:
    await connection.execute("UPDATE remote SET url = 'http://other/' WHERE name = %s", (name,))


async def urls(database: Database) -> dict[str, str]:
    async with database.connection() as connection:
        return dict(await (await connection.execute("SELECT name, url FROM remote")).fetchall())


@pytest.mark.usefixtures("two_remotes")
async def test_statement_that_ends_a_deadlock_is_done_again(
    database: Database, conninfo: str
) -> None:
    async with other(conninfo) as theirs:
        await change(theirs, "b")
        ours = asyncio.create_task(database.fetch("save_remotes", REMOTES))
        await lock_waiters(database, 1)
        # Ours has changed "a" and waits for "b": only when it is rolled back can this go on.
        await change(theirs, "a")
        await theirs.commit()

    assert [name for _, name in await ours] == ["a", "b"]
    assert await urls(database) == {"a": "http://new/", "b": "http://new/"}


@pytest.mark.usefixtures("two_remotes")
async def test_statement_that_cannot_be_serialised_is_done_again(conninfo: str) -> None:
    strict = make_conninfo(conninfo, options="-c default_transaction_isolation=serializable")
    database = Database(strict)
    await database.open()
    async with other(conninfo) as theirs:
        await change(theirs, "a")
        ours = asyncio.create_task(database.fetch("save_remotes", REMOTES))
        await lock_waiters(database, 1)
        await theirs.commit()

    assert [name for _, name in await ours] == ["a", "b"]
    assert await urls(database) == {"a": "http://new/", "b": "http://new/"}
    await database.close()


@pytest.mark.usefixtures("two_remotes")
async def test_statement_whose_session_is_ended_is_done_again(
    database: Database, conninfo: str
) -> None:
    async with other(conninfo) as theirs:
        await change(theirs, "a")
        ours = asyncio.create_task(database.fetch("save_remotes", REMOTES))
        await lock_waiters(database, 1)
        await end_waiting_sessions(database)
        await lock_waiters(database, 1)
        await theirs.commit()

    assert [name for _, name in await ours] == ["a", "b"]


@pytest.mark.usefixtures("two_remotes")
async def test_second_loss_of_the_connection_is_an_error_that_names_the_statement(
    database: Database, conninfo: str
) -> None:
    async with other(conninfo) as theirs:
        await change(theirs, "a")
        ours = asyncio.create_task(database.fetch("save_remotes", REMOTES))
        for _ in range(2):
            await lock_waiters(database, 1)
            await end_waiting_sessions(database)
        with pytest.raises(ConnectionLostError, match=r"statement save_remotes: .*terminating"):
            await ours
        await theirs.rollback()

    assert await urls(database) == {"a": "http://old/", "b": "http://old/"}


async def test_work_that_meets_others_every_time_ends_with_the_error() -> None:
    tries = 0

    async def meet() -> None:
        nonlocal tries
        tries += 1
        raise CatalogConflictError("deadlock detected")

    with pytest.raises(CatalogConflictError):
        await repeated(meet)

    assert tries == 5


async def end_waiting_sessions(database: Database) -> None:
    """Let the server end the sessions that wait for a lock."""
    async with database.dedicated() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
