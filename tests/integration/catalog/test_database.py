"""The database on a real server: opening and migrating it, running statements, losing it."""

import asyncio
import socket
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.schema import Migration, migrate, migrations
from flowsync.errors import (
    CatalogError,
    CatalogUnavailableError,
    ConnectionLostError,
    SchemaTooNewError,
)
from tests.integration.catalog.waiting import lock_waiters

KNOWN = len(migrations())
EXTRA = Migration(number=KNOWN + 1, name="extra", sql=b"CREATE TABLE extra (id bigint);")
BROKEN = Migration(
    number=KNOWN + 1, name="broken", sql=b"CREATE TABLE extra (id bigint); SELECT 1 / 0;"
)


async def test_open_migrates_an_empty_database(empty_conninfo: str) -> None:
    database = Database(empty_conninfo)

    await database.open()

    async with database.connection() as connection:
        cursor = await connection.execute("SELECT number, name FROM schema_version ORDER BY number")
        found = await cursor.fetchall()
    await database.close()
    assert found == [(migration.number, migration.name) for migration in migrations()]


async def test_concurrent_first_starts_migrate_once(empty_conninfo: str) -> None:
    databases = [Database(empty_conninfo) for _ in range(6)]

    outcomes = await asyncio.gather(*(each.open() for each in databases), return_exceptions=True)
    await asyncio.gather(*(each.close() for each in databases))

    assert outcomes == [None] * 6
    with psycopg.connect(empty_conninfo) as connection:
        cursor = connection.execute("SELECT count(*) FROM schema_version")
        assert cursor.fetchone() == (len(migrations()),)


async def test_migrate_counts_what_it_applied(database: Database) -> None:
    async with database.dedicated() as connection:
        assert await migrate(connection) == 0
        assert await migrate(connection, [*migrations(), EXTRA]) == 1
        assert await migrate(connection, [*migrations(), EXTRA]) == 0


async def test_failed_migration_leaves_the_database_as_it_was(database: Database) -> None:
    async with database.dedicated() as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await migrate(connection, [*migrations(), BROKEN])

        cursor = await connection.execute(
            "SELECT max(number), to_regclass('extra') FROM schema_version"
        )
        assert await cursor.fetchone() == (KNOWN, None)


async def test_open_refuses_a_database_that_a_newer_flowsync_migrated(conninfo: str) -> None:
    with psycopg.connect(conninfo) as connection:
        connection.execute("INSERT INTO schema_version VALUES (9999, 'later', '')")

    with pytest.raises(SchemaTooNewError, match="the database has schema 9999"):
        await Database(conninfo).open()


async def test_refused_connection_names_host_and_database_and_no_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        database = Database(f"postgresql://me:hunter2@127.0.0.1:{port}/sync")

        with pytest.raises(CatalogUnavailableError) as caught:
            await database.open()

    assert str(caught.value).startswith(f"database 'sync' at 127.0.0.1:{port}: connection failed")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str(caught.value.__cause__)


async def test_server_that_accepts_and_says_nothing_is_given_up_after_the_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        database = Database(f"postgresql://me@127.0.0.1:{port}/sync", timeout=0.2)

        with pytest.raises(
            CatalogUnavailableError, match=r"127.0.0.1:\d+ did not answer within 0.2 s"
        ):
            await database.open()


async def test_missing_database_is_an_error_that_names_it(postgres: str) -> None:
    with pytest.raises(CatalogUnavailableError, match='database "nowhere" does not exist'):
        await Database(make_conninfo(postgres, dbname="nowhere")).open()


async def test_database_can_be_named_by_a_url(conninfo: str) -> None:
    parts = conninfo_to_dict(conninfo)
    host = str(parts["host"]).replace("/", "%2F")
    database = Database(
        f"postgresql://{parts.get('user', '')}@{host}:{parts['port']}/{parts['dbname']}"
    )

    await database.open()

    assert await database.fetch("repository_names") == []
    await database.close()


async def test_database_that_is_not_open_says_so(conninfo: str) -> None:
    with pytest.raises(CatalogError, match="is not open"):
        await Database(conninfo).fetch("repository_names")


async def test_sessions_do_not_depend_on_the_servers_time_zone(conninfo: str) -> None:
    name = conninfo_to_dict(conninfo)["dbname"]
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET TimeZone = 'Asia/Kathmandu'")
    database = Database(conninfo)
    await database.open()

    async with database.connection() as connection:
        cursor = await connection.execute("SELECT timestamptz '2024-02-29 12:00:00+00'")
        assert await cursor.fetchone() == (datetime(2024, 2, 29, 12, tzinfo=UTC),)
        cursor = await connection.execute("SHOW TimeZone")
        assert await cursor.fetchone() == ("UTC",)
    await database.close()


async def test_transaction_is_committed_at_its_end(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO remote (name, url, policy) VALUES ('a', 'b:', 'streamed')"
        )

    assert await _remotes(database) == ["a"]


async def test_transaction_is_rolled_back_by_an_exception(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as connection:
            await connection.execute(
                "INSERT INTO remote (name, url, policy) VALUES ('a', 'b:', 'streamed')"
            )
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert await _remotes(database) == []


async def test_statement_that_the_server_refuses_is_named(database: Database) -> None:
    expected = r"statement save_alternate_source: insert or update on table .* violates foreign key"
    with pytest.raises(CatalogError, match=expected) as caught:
        await database.execute(
            "save_alternate_source", {"name": "a", "remote_id": 404, "priority": 0, "paths": []}
        )

    assert type(caught.value) is CatalogError
    assert isinstance(caught.value.__cause__, psycopg.errors.ForeignKeyViolation)


async def test_lost_connections_fail_one_transaction_and_no_statement(database: Database) -> None:
    await _lose_three_connections(database)
    with pytest.raises(ConnectionLostError):
        async with database.transaction() as connection:
            await database.run(connection, "repository_names")

    async with database.connection(), database.connection(), database.connection():
        assert await database.fetch("repository_names") == []

    await _lose_three_connections(database)
    assert await database.fetch("repository_names") == []


async def test_waiting_for_a_connection_ends_with_the_timeout(conninfo: str) -> None:
    database = Database(conninfo, max_connections=1, timeout=0.2)
    await database.open()

    async with database.connection():
        with pytest.raises(
            CatalogUnavailableError, match=r"no connection of 1 became free within 0.2 s"
        ):
            await database.fetch("repository_names")

    await database.close()


async def test_cancelled_statement_is_cancelled_on_the_server_too(database: Database) -> None:
    async def wait_for_ever() -> None:
        async with database.connection() as connection:
            await connection.execute("SELECT pg_advisory_lock(1)")

    async with database.dedicated() as holder:
        await holder.execute("SELECT pg_advisory_lock(1)")
        task = asyncio.create_task(wait_for_ever())
        await lock_waiters(database, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        cursor = await holder.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        assert await cursor.fetchone() == (0,)


async def test_round_trips_are_counted(database: Database) -> None:
    before = database.round_trips

    await database.fetch("repository_names")
    async with database.transaction() as connection:
        await database.run(connection, "repository_names")

    assert database.round_trips - before == 1 + 3


async def _remotes(database: Database) -> list[str]:
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT name FROM remote")
        return [name for (name,) in await cursor.fetchall()]


async def _lose_three_connections(database: Database) -> None:
    """Let the server end three sessions that the pool holds, and all others."""
    async with database.connection(), database.connection(), database.connection():
        pass
    async with database.dedicated() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )


async def test_task_that_is_cancelled_in_the_moment_its_connection_is_there_ends(
    conninfo: str,
) -> None:
    """The symptom: under Python 3.11 the task went on, and whoever had cancelled it waited for
    ever, as a sync does for what records its progress.
    """
    database = Database(conninfo, max_connections=1)
    await database.open()
    for turns in range(100):
        freed, waits = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(_use(database, freed, waits))
        await waits.wait()
        second = asyncio.create_task(_use(database, asyncio.Event(), asyncio.Event()))
        await _turns(20)

        freed.set()
        await _turns(turns)
        second.cancel()
        ended, _ = await asyncio.wait([second], timeout=5)

        assert ended == {second}, f"cancelled after {turns} turns of the loop"
        assert second.cancelled()
        await first
    await database.close()


async def _use(database: Database, until: asyncio.Event, begun: asyncio.Event) -> None:
    async with database.connection():
        begun.set()
        await until.wait()


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
