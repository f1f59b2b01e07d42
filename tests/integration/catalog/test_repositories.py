"""Repositories by name, their settings and what the last sync left."""

import asyncio
from functools import partial

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import (
    DeclarationError,
    PlanOutdatedError,
    RepositoryNotFoundError,
    VersionNotFoundError,
)
from flowsync.model.repository import Repository, RepositoryVersion
from tests.integration.catalog.units import Shelf

EMPTY_ROOT = "be2a8de3dcf46c94ce85cdc8e07ac308f4d8a95490d956c38d780fd610db0813"
"""BLAKE3 of 2048 zero bytes."""


async def settings(database: Database) -> list[tuple[object, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT name, allowed_types, retain_versions, next_version FROM repository ORDER "
            "BY name"
        )
        return await cursor.fetchall()


async def test_repository_is_made_with_an_empty_version_0(
    repositories: Repositories, database: Database
) -> None:
    await repositories.ensure(Repository(name="r"))

    (version,) = await repositories.versions("r")
    assert version == RepositoryVersion(
        repository="r",
        number=0,
        created=version.created,
        added=0,
        removed=0,
        present=0,
        info={},
        protected=False,
        root=EMPTY_ROOT,
    )
    assert await settings(database) == [("r", None, None, 1)]


async def test_ensuring_again_changes_only_what_differs(
    repositories: Repositories, database: Database
) -> None:
    full = Repository(name="r", allowed_types=frozenset({"b", "a"}), retain_versions=3)
    await repositories.ensure(full)
    await repositories.ensure(full)
    assert await settings(database) == [("r", ["a", "b"], 3, 1)]

    await repositories.ensure(Repository(name="r", retain_versions=4))
    assert await settings(database) == [("r", None, 4, 1)]

    before = database.round_trips
    await repositories.ensure(Repository(name="r", retain_versions=4))
    assert database.round_trips - before == 1
    assert len(await repositories.versions("r")) == 1


async def test_first_uses_at_once_make_one_repository(repositories: Repositories) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(repositories.ensure(Repository(name="r")))

    assert await repositories.names() == ["r"]


async def test_names_come_in_order(repositories: Repositories) -> None:
    for name in ("b", "a", "Z"):
        await repositories.ensure(Repository(name=name))

    assert await repositories.names() == ["Z", "a", "b"]


async def test_versions_are_found_by_number(repositories: Repositories, shelf: Shelf) -> None:
    a, b = await shelf.packages("a", "b")
    async with repositories.new_version(Repository(name="r")) as version:
        await version.add_content([a])
    async with repositories.new_version(Repository(name="r")) as version:
        await version.add_content([b])

    assert [found.number for found in await repositories.versions("r")] == [0, 1, 2]
    assert await repositories.version("r") == version.completed
    assert (await repositories.version("r", 1)).present == 1


async def test_what_does_not_exist_is_an_error(repositories: Repositories) -> None:
    await repositories.ensure(Repository(name="r"))

    for question in (
        repositories.versions("nowhere"),
        repositories.version("nowhere"),
        repositories.missing_artifacts("nowhere", 0),
    ):
        with pytest.raises(RepositoryNotFoundError, match="no repository is named 'nowhere'"):
            await question
    with pytest.raises(VersionNotFoundError, match="repository 'r' has no complete version 1"):
        await repositories.version("r", 1)


async def test_what_a_sync_saw_is_kept_with_the_number_it_came_to_until_another_one_tells(
    repositories: Repositories, shelf: Shelf
) -> None:
    def seen(url: str, number: int) -> dict[str, object]:
        return {"url": url, "version": number}

    (a,) = await shelf.packages("a")
    kept = []
    for units, url in (
        ([a], "http://a.example/"),
        ([a], "http://b.example/"),
        ([], None),
        ([], None),
    ):
        async with repositories.new_version(Repository(name="r")) as version:
            await version.set_content(units)
            if url is not None:
                version.this_sync = partial(seen, url)
            kept.append(version.last_sync)

    first, second = (seen(f"http://{host}.example/", 1) for host in "ab")
    assert kept == [None, first, second, second]


async def test_what_a_version_that_failed_saw_is_not_kept(
    repositories: Repositories, shelf: Shelf
) -> None:
    (a,) = await shelf.packages("a")

    async def go_elsewhere_than_planned() -> None:
        async with repositories.new_version(Repository(name="r")) as version:
            await version.add_content([a])
            version.this_sync = lambda number: {"version": number}
            version.expected_root = EMPTY_ROOT

    with pytest.raises(PlanOutdatedError):
        await go_elsewhere_than_planned()

    async with repositories.new_version(Repository(name="r")) as version:
        assert version.last_sync is None


@pytest.mark.parametrize("name", ["-", "v2", "r.v3", "images.v007", "é" * 128])
async def test_no_repository_is_made_that_could_not_be_addressed(
    name: str, repositories: Repositories, database: Database
) -> None:
    """Where versions are served, `/-/` is the server's own and `/v2/` the registry's."""
    with pytest.raises(DeclarationError, match="a repository"):
        await repositories.ensure(Repository(name=name))
    with pytest.raises(DeclarationError, match="a repository"):
        async with repositories.new_version(Repository(name=name)):
            pass

    assert await settings(database) == []


@pytest.mark.parametrize("name", ["-a", "v2x", "v2.1", "r.v", "r.v3x", "a" * 255])
async def test_names_like_those_are_fine(name: str, repositories: Repositories) -> None:
    await repositories.ensure(Repository(name=name))

    assert await repositories.names() == [name]


async def test_a_repository_that_has_such_a_name_can_be_used(
    repositories: Repositories, database: Database
) -> None:
    await repositories.ensure(Repository(name="r"))
    async with database.connection() as connection:
        await connection.execute("UPDATE repository SET name = '-'")

    await repositories.ensure(Repository(name="-", retain_versions=3))
    async with repositories.new_version(Repository(name="-")):
        pass

    assert (await repositories.version("-")).number == 0


async def test_names_of_alternate_sources_are_free_of_these_rules(
    repositories: Repositories,
) -> None:
    name = "acs:dvd:" + "x" * 300 + ".v3"

    await repositories.ensure(Repository(name=name))

    assert (await repositories.version(name)).number == 0
