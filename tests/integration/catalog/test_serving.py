"""What is served of versions: paths and folders, against a real database."""

from datetime import UTC, datetime, timedelta

import pytest
from psycopg import AsyncConnection

from flowsync.catalog.postgres.database import Database, statement
from flowsync.catalog.queries.served_paths import Serving
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import RepositoryNotFoundError, VersionNotFoundError
from flowsync.model.repository import Repository
from tests.integration.catalog.units import File, Shelf


@pytest.fixture
def serving(database: Database) -> Serving:
    return Serving(database)


async def commit(database: Database, *paths: str, body: str = "one", name: str = "files") -> None:
    """Make a version that also has these files, and the bytes of none."""
    ids = await Shelf(database).files(*paths, body=body)
    async with Repositories(database).new_version(Repository(name=name)) as version:
        await version.add_content(ids)


async def test_a_path_is_found_in_the_version_that_is_meant(
    database: Database, serving: Serving
) -> None:
    shelf = Shelf(database)
    old = await shelf.put(File(relative_path="a", body="1"), {"a": b"old"})
    new = await shelf.put(File(relative_path="a", body="2"), {"a": b"newer"})
    for unit in (old, new):
        async with Repositories(database).new_version(Repository(name="files")) as version:
            await version.add_content([unit])

    newest = await serving.find("files", None, None, "a")
    first = await serving.find("files", 1, None, "a")

    assert newest is not None
    assert (newest.number, newest.content_id, newest.size) == (2, new, 5)
    assert first is not None
    assert (first.number, first.content_id, first.size) == (1, old, 3)
    assert first.sha256 == "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"
    assert await serving.find("files", 0, None, "a") is None
    assert await serving.find("files", None, None, "b") is None


async def test_a_moment_means_the_newest_version_up_to_then(
    database: Database, serving: Serving
) -> None:
    await commit(database, "a")
    await commit(database, "b")
    first = await serving.version("files", 1, None)
    second = await serving.version("files", 2, None)

    assert (await serving.version("files", None, first.created)).number == 1
    assert (await serving.version("files", None, second.created)).number == 2
    just_before = second.created - timedelta(microseconds=1)
    assert (await serving.version("files", None, just_before)).number == 1
    with pytest.raises(VersionNotFoundError, match="has no complete version of 2001"):
        await serving.version("files", None, datetime(2001, 1, 1, tzinfo=UTC))


async def test_what_is_not_there_is_named(database: Database, serving: Serving) -> None:
    await commit(database, "a")

    with pytest.raises(RepositoryNotFoundError, match="no repository is named 'other'"):
        await serving.find("other", None, None, "a")
    with pytest.raises(VersionNotFoundError, match="'files' has no complete version 7"):
        await serving.find("files", 7, None, "a")
    with pytest.raises(VersionNotFoundError, match="'files' has no complete version 7"):
        await serving.version("files", 7, None)


async def test_a_folder_has_its_files_and_its_folders_each_once(
    database: Database, serving: Serving
) -> None:
    await commit(database, "a.txt", "a/1", "a/2/x", "a/2/y", "a0", "b", "é/z", "A")
    await commit(database, "elsewhere/1", "a/other", name="other")
    version = await serving.version("files", None, None)

    top = await serving.folder(version, "")
    below = await serving.folder(version, "a/")

    assert [child.path for child in top.children] == ["A", "a.txt", "a/", "a0", "b", "é/"]
    assert [child.path for child in below.children] == ["a/1", "a/2/"]
    assert top.next is None
    assert (await serving.folder(version, "nothing/")).children == []


async def test_a_large_folder_comes_in_pages(database: Database, serving: Serving) -> None:
    await commit(database, *(f"f/{number:03}" for number in range(10)), "f/004.d/below", "g")
    version = await serving.version("files", None, None)

    pages, after = [], None
    while True:
        page = await serving.folder(version, "f/", after, count=4)
        pages.append([child.path.removeprefix("f/") for child in page.children])
        after = page.next
        if after is None:
            break

    assert pages == [
        ["000", "001", "002", "003"],
        ["004", "004.d/", "005", "006"],
        ["007", "008", "009"],
    ]


@pytest.mark.parametrize("analysed", [False, True])
async def test_a_path_is_found_over_indexes_alone(
    analysed: bool, database: Database, serving: Serving
) -> None:
    """The plan that a prepared statement keeps begins with the path, also when it was made before
    anybody knew how large the tables get.
    """
    for number in range(3):
        await commit(database, *(f"{number}/{file}" for file in range(500)))

    async with database.connection() as connection:
        if analysed:
            await connection.execute("ANALYZE")
        plan = await _generic_plan(connection, "find_at_paths")
        lasting = await _generic_plan(connection, "find_lasting")
        group = await _generic_plan(connection, "group_units")

    assert "Seq Scan" not in plan
    assert "content_artifact_path" in plan
    assert "repository_content_pkey" in plan
    assert "content_artifact_path" in lasting
    assert "Seq Scan" not in lasting.replace("Seq Scan on repository_version", "")
    assert "content_group" in group
    assert "Seq Scan" not in group


async def _generic_plan(connection: AsyncConnection[tuple[object, ...]], name: str) -> str:
    params = {
        "names": ["files"],
        "numbers": [None],
        "moments": [None],
        "paths": ["1/7"],
        "described": ["test.unit"],
        "repository": 1,
        "number": 1,
        "path": "1/7",
        "types": ["test.unit"],
        "seconds": 60.0,
        "group": b"\0" * 16,
        "with_files": True,
    }
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    cursor = await connection.execute(b"EXPLAIN " + statement(name), params, prepare=True)
    return "\n".join(str(line) for (line,) in await cursor.fetchall())
