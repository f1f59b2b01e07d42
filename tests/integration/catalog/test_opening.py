"""Opening versions: one at a time, whatever happened to the one before."""

import asyncio
import subprocess
import sys

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import (
    CatalogUnavailableError,
    RepositoryBusyError,
    RepositoryNotFoundError,
    VersionNotFoundError,
)
from flowsync.model.repository import Repository
from tests.integration.catalog.units import Shelf

R = Repository(name="r")

HOLDER = """
import asyncio, sys
from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.repositories import Repositories
from flowsync.model.repository import Repository

async def main():
    database = Database(sys.argv[1])
    await database.open()
    async with Repositories(database).new_version(Repository(name="r")) as version:
        await version.remove_content([bytes.fromhex(sys.argv[2])])
        await version.add_content([bytes.fromhex(sys.argv[3])])
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


async def numbers(repositories: Repositories) -> list[int]:
    return [version.number for version in await repositories.versions("r")]


async def present(repositories: Repositories) -> set[bytes]:
    return {unit async for batch in repositories.content_ids("r") for unit in batch}


async def rows(database: Database, sql: str) -> list[tuple[object, ...]]:
    async with database.connection() as connection:
        return await (await connection.execute(sql.encode())).fetchall()


async def until_someone_waits(database: Database) -> None:
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    while not await rows(database, waiting):
        pass


async def test_new_repository_has_version_0_and_goes_on_with_1(
    repositories: Repositories, shelf: Shelf
) -> None:
    async with repositories.new_version(R) as version:
        assert (version.number, version.previous) == (1, 0)
        await version.add_content(await shelf.packages("a"))
    async with repositories.new_version(R) as version:
        assert (version.number, version.previous) == (2, 1)

    first = await repositories.version("r", 0)
    assert (first.added, first.removed, first.present) == (0, 0, 0)


async def test_exception_discards_the_version_and_leaves_its_number(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    a, b = await shelf.packages("a", "b")
    async with repositories.new_version(R) as version:
        await version.add_content([a])

    async def fail() -> None:
        async with repositories.new_version(R) as version:
            await version.set_content([b])
            raise RuntimeError("upstream burnt down")

    with pytest.raises(RuntimeError, match="upstream burnt down"):
        await fail()

    assert await numbers(repositories) == [0, 1]
    assert await present(repositories) == {a}
    assert await rows(database, "SELECT added, removed FROM repository_content") == [(1, None)]
    async with repositories.new_version(R) as version:
        assert version.number == 2


async def test_cancellation_discards_the_version_and_gives_the_repository_free(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    units = await shelf.packages("a")
    inside = asyncio.Event()

    async def sync() -> None:
        async with repositories.new_version(R) as version:
            await version.add_content(units)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(sync())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await rows(database, "SELECT 1 FROM repository_content") == []
    async with repositories.new_version(R, wait=False) as version:
        assert version.number == 1


async def test_second_version_is_told_that_the_repository_is_busy(
    repositories: Repositories,
) -> None:
    async with repositories.new_version(R):
        with pytest.raises(RepositoryBusyError, match="repository 'r' is busy"):
            async with repositories.new_version(R, wait=False):
                pass
        async with repositories.new_version(Repository(name="other"), wait=False) as other:
            assert other.number == 1


async def test_second_version_waits_and_starts_with_what_the_first_made(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    a, b = await shelf.packages("a", "b")

    async def second() -> None:
        async with repositories.new_version(R) as version:
            assert (version.number, version.previous) == (2, 1)
            await version.add_content([b])

    async with asyncio.TaskGroup() as tasks:
        async with repositories.new_version(R) as version:
            await version.add_content([a])
            tasks.create_task(second())
            await until_someone_waits(database)

    assert await present(repositories) == {a, b}


async def test_waiting_can_be_cancelled(repositories: Repositories, database: Database) -> None:
    async def second() -> None:
        async with repositories.new_version(R):
            raise AssertionError("the repository was held")

    async with repositories.new_version(R) as version:
        task = asyncio.create_task(second())
        await until_someone_waits(database)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert version.completed is None


async def test_many_versions_of_one_repository_take_turns(
    repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages(*map(str, range(6)))

    async def sync(unit: bytes) -> None:
        async with repositories.new_version(R) as version:
            await version.add_content([unit])

    async with asyncio.TaskGroup() as tasks:
        for unit in units:
            tasks.create_task(sync(unit))

    assert await numbers(repositories) == [0, 1, 2, 3, 4, 5, 6]
    assert await present(repositories) == set(units)


async def test_lost_connection_ends_the_version_and_the_next_one_cleans_up(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    a, b = await shelf.packages("a", "b")

    # The server is shared with tests that run at the same time: only what holds a lock in this
    # test's database is ended.
    terminate = (
        "SELECT pg_terminate_backend(l.pid, 10000) FROM pg_locks l JOIN pg_database d ON "
        "d.oid = l.database "
        "WHERE l.locktype = 'advisory' AND d.datname = current_database()"
    )

    async def sync() -> None:
        async with repositories.new_version(R) as version:
            await version.add_content([a])
            await rows(database, terminate)
            await version.add_content([b])

    with pytest.raises(CatalogUnavailableError) as caught:
        await sync()

    assert "version 1 is left to be discarded" in caught.value.__notes__[0]
    assert await rows(database, "SELECT complete FROM repository_version WHERE number = 1") == [
        (False,)
    ]
    async with repositories.new_version(R) as version:
        assert version.number == 1
        assert [ids async for ids in version.content_ids()] == []


async def test_undoing_that_takes_long_is_left_to_the_next_version(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    units = await shelf.packages("a")

    async def fail() -> None:
        async with repositories.new_version(R) as version:
            await version.add_content(units)
            await connection.execute("LOCK TABLE repository_version IN EXCLUSIVE MODE")
            raise RuntimeError("upstream burnt down")

    async with database.transaction() as connection:
        with pytest.raises(RuntimeError, match="upstream burnt down") as caught:
            await fail()

    assert caught.value.__notes__ == [
        "version 1 is left to be discarded by the next opening: it took too long"
    ]
    async with repositories.new_version(R, wait=False) as version:
        assert version.number == 1
        assert [ids async for ids in version.content_ids()] == []


async def test_version_of_a_killed_process_is_discarded_by_the_next(
    repositories: Repositories, shelf: Shelf, conninfo: str
) -> None:
    a, b = await shelf.packages("a", "b")
    async with repositories.new_version(R) as version:
        await version.add_content([a])
    command = [sys.executable, "-c", HOLDER, conninfo, a.hex(), b.hex()]

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"ready\n"
        with pytest.raises(RepositoryBusyError):
            async with repositories.new_version(R, wait=False):
                pass
        process.kill()

    async with repositories.new_version(R) as version:
        assert version.number == 2
        assert [ids async for ids in version.content_ids()] == [[a]]
    assert version.completed is None


async def test_version_starts_from_a_base_of_another_repository(
    repositories: Repositories, shelf: Shelf
) -> None:
    a, b, c, d = await shelf.packages("a", "b", "c", "d")
    async with repositories.new_version(Repository(name="source")) as version:
        await version.add_content([a, b])
    async with repositories.new_version(R) as version:
        await version.add_content([b, c])

    async with repositories.new_version(R, base=("source", 1)) as version:
        await version.add_content([d])
        await version.remove_content([a])

    assert await present(repositories) == {b, d}
    assert version.completed is not None
    assert (version.completed.added, version.completed.removed, version.completed.present) == (
        1,
        1,
        2,
    )


async def test_version_that_equals_its_base_and_the_latest_is_not_made(
    repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages("a", "b")
    for change in ([units[0]], [units[1]]):
        async with repositories.new_version(R) as version:
            await version.set_content(change)

    async with repositories.new_version(R, base=("r", 2)) as version:
        pass
    assert version.completed is None

    async with repositories.new_version(R, base=("r", 1)) as version:
        pass
    assert version.completed is not None
    assert await present(repositories) == {units[0]}


async def test_unknown_base_is_an_error(repositories: Repositories) -> None:
    with pytest.raises(RepositoryNotFoundError, match="no repository is named 'nowhere'"):
        async with repositories.new_version(R, base=("nowhere", 1)):
            pass
    with pytest.raises(VersionNotFoundError, match="repository 'r' has no complete version 7"):
        async with repositories.new_version(R, base=("r", 7)):
            pass


async def test_info_is_recorded_with_what_was_added_to_it(
    repositories: Repositories, shelf: Shelf
) -> None:
    async with repositories.new_version(R, info={"by": "me"}) as version:
        await version.add_content(await shelf.packages("a"))
        version.info["skipped"] = ["b"]

    assert version.completed is not None
    assert version.completed.info == {"by": "me", "skipped": ["b"]}
    assert await repositories.version("r") == version.completed
