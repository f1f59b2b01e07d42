"""Two catalogs in two schemas of one database: their locks are two."""

from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.upkeep.orphans import Orphans
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import RepositoryBusyError
from flowsync.model.repository import Repository

R = Repository(name="r")


@pytest.fixture
async def pair(empty_conninfo: str) -> AsyncIterator[list[Database]]:
    databases = []
    with psycopg.connect(empty_conninfo, autocommit=True) as connection:
        for schema in ("one", "two"):
            connection.execute(f"CREATE SCHEMA {schema}")
            options = f"-c search_path={schema}"
            databases.append(Database(make_conninfo(empty_conninfo, options=options)))
    for database in databases:
        await database.open()
    yield databases
    for database in databases:
        await database.close()


async def test_repositories_of_two_schemas_do_not_wait_for_each_other(
    pair: list[Database],
) -> None:
    one, two = (Repositories(database) for database in pair)

    async with one.new_version(R), two.new_version(R, wait=False):
        with pytest.raises(RepositoryBusyError):
            async with two.new_version(R, wait=False):
                raise AssertionError

    assert pair[0].locks != pair[1].locks


async def test_version_in_the_making_protects_nothing_in_the_other_schema(
    pair: list[Database],
) -> None:
    one = Repositories(pair[0])

    async with one.new_version(R):
        kept, free = [await Orphans(database).cutoff(timedelta(0)) for database in pair]

    assert free - kept > timedelta(minutes=50)


async def test_migrations_of_one_schema_do_not_wait_for_those_of_another(
    empty_conninfo: str,
) -> None:
    with psycopg.connect(empty_conninfo, autocommit=True) as migrating:
        migrating.execute("CREATE SCHEMA one")
        migrating.execute("CREATE SCHEMA two")
        migrating.execute(
            "SELECT pg_advisory_lock(hashtextextended('one', %s))", (0x666C6F7773796E63,)
        )
        database = Database(make_conninfo(empty_conninfo, options="-c search_path=two"))
        await database.open()
        assert await database.fetch("repository_names") == []
        await database.close()
