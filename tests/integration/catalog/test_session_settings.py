"""Sessions are alike, whatever server, database, user and environment say; unfit databases are
refused.
"""

from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowsync.catalog.postgres.database import Database
from flowsync.errors import CatalogUnavailableError, UnfitDatabaseError

ODD = {
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "extra_float_digits": "-15",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "client_encoding": "LATIN1",
}
SHOWN = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
EXPECTED = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "extra_float_digits": "1",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "client_encoding": "UTF8",
}


async def settings_of(database: Database) -> list[dict[str, str]]:
    """Return the settings of a pooled and of a dedicated session that ODD is about."""
    found = []
    for lent in (database.connection(), database.dedicated()):
        async with lent as connection:
            cursor = await connection.execute(SHOWN, (list(ODD),))
            found.append(dict(await cursor.fetchall()))
    return found


async def test_what_a_database_sets_does_not_reach_sessions(empty_conninfo: str) -> None:
    name = conninfo_to_dict(empty_conninfo)["dbname"]
    with psycopg.connect(empty_conninfo, autocommit=True) as connection:
        for setting, value in ODD.items():
            connection.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    database = Database(empty_conninfo)
    await database.open()

    for found in await settings_of(database):
        assert {**found, "DateStyle": found["DateStyle"][:3]} == {**EXPECTED, "DateStyle": "ISO"}
    await database.close()


async def test_what_the_environment_sets_does_not_reach_sessions(
    conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = " ".join(
        f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in ODD.items()
    )
    monkeypatch.setenv("PGOPTIONS", f"{options} -c application_name=mine")
    monkeypatch.setenv("PGTZ", "Asia/Kathmandu")
    names = ("host", "port", "user", "dbname")
    settings = conninfo_to_dict(conninfo)
    named = {name: str(value) for name, value in settings.items() if name in names}
    database = Database(make_conninfo(**named))
    await database.open()

    for found in await settings_of(database):
        assert {**found, "DateStyle": found["DateStyle"][:3]} == {**EXPECTED, "DateStyle": "ISO"}
    await database.close()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_database_of_another_encoding_is_refused_with_the_way_to_make_one(
    postgres: str, encoding: str
) -> None:
    name = f"flowsync_test_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C' "
            "TEMPLATE template0"
        )
    try:
        with pytest.raises(UnfitDatabaseError) as caught:
            await Database(make_conninfo(postgres, dbname=name)).open()
        with psycopg.connect(make_conninfo(postgres, dbname=name)) as connection:
            tables = connection.execute(
                "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
            )
            assert tables.fetchone() == (0,)
    finally:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    assert str(caught.value).startswith(f"database {name!r} at ")
    assert f"its encoding is {encoding}" in str(caught.value)
    assert "CREATE DATABASE flowsync ENCODING 'UTF8' TEMPLATE template0" in str(caught.value)


async def test_first_of_several_hosts_that_answers_is_used_and_none_is_told_by_all(
    conninfo: str,
) -> None:
    settings = conninfo_to_dict(conninfo)
    gone = make_conninfo(
        conninfo, host=f"127.0.0.1,{settings['host']}", hostaddr=None, port=f"1,{settings['port']}"
    )
    database = Database(gone)
    await database.open()
    await database.close()

    with pytest.raises(
        CatalogUnavailableError, match=r"database 'sync' at 127\.0\.0\.1:1, 127\.0\.0\.1:2"
    ):
        await Database("postgresql://me:secret@127.0.0.1:1,127.0.0.1:2/sync").open()


async def test_silent_connections_are_looked_after_by_both_sides(conninfo: str) -> None:
    database = Database(conninfo)
    await database.open()

    async with database.dedicated() as connection:
        parameters = connection.info.get_parameters()
    await database.close()

    assert parameters["keepalives_idle"] == "15"
    assert parameters["tcp_user_timeout"] == "30000"
