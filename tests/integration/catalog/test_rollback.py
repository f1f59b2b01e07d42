"""Rolling back: a new version that holds what an old one held."""

import pytest

from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import (
    DisallowedContentError,
    RepositoryNotFoundError,
    VersionNotFoundError,
)
from flowsync.model.repository import Repository
from tests.integration.catalog.units import Shelf

R = Repository(name="r")


async def make(repositories: Repositories, *units: bytes) -> None:
    async with repositories.new_version(R) as version:
        await version.set_content(units)


async def present(repositories: Repositories) -> set[bytes]:
    return {unit async for batch in repositories.content_ids("r") for unit in batch}


async def test_rollback_makes_a_new_version_of_an_old_ones_content(
    repositories: Repositories, shelf: Shelf
) -> None:
    a, b, c = await shelf.packages("a", "b", "c")
    await make(repositories, a, b)
    await make(repositories, c)

    version = await repositories.roll_back("r", 1)

    assert version is not None
    assert (version.number, version.added, version.removed, version.present) == (3, 2, 1, 2)
    assert version.info == {"rolled_back_to": 1}
    assert version.root == (await repositories.version("r", 1)).root
    assert await present(repositories) == {a, b}


async def test_rollback_to_the_empty_version_empties(
    repositories: Repositories, shelf: Shelf
) -> None:
    await make(repositories, *await shelf.packages("a"))

    await repositories.roll_back("r", 0)

    assert await present(repositories) == set()


async def test_rollback_to_what_is_there_already_makes_no_version(
    repositories: Repositories, shelf: Shelf
) -> None:
    """To the latest version, and to an older one with the same content."""
    a, b = await shelf.packages("a", "b")
    await make(repositories, a)
    await make(repositories, b)
    await make(repositories, a)

    assert await repositories.roll_back("r", 3) is None
    assert await repositories.roll_back("r", 1) is None
    assert [version.number for version in await repositories.versions("r")] == [0, 1, 2, 3]


async def test_rollback_keeps_the_settings_of_the_repository(
    repositories: Repositories, shelf: Shelf
) -> None:
    settings = Repository(name="r", allowed_types=frozenset({"test.package"}), retain_versions=5)
    a, b = await shelf.packages("a", "b")
    await make(repositories, a)
    await make(repositories, b)
    await repositories.ensure(settings)

    await repositories.roll_back("r", 1)

    assert await repositories.repository("r") == settings


async def test_rollback_does_not_bring_back_what_is_not_allowed_any_more(
    repositories: Repositories, shelf: Shelf
) -> None:
    (package,), (file,) = await shelf.packages("a"), await shelf.files("b")
    await make(repositories, file)
    await make(repositories, package)
    await repositories.ensure(Repository(name="r", allowed_types=frozenset({"test.package"})))

    with pytest.raises(DisallowedContentError, match=r"content of type test\.file is not allowed"):
        await repositories.roll_back("r", 1)

    assert await present(repositories) == {package}


async def test_rollback_to_what_does_not_exist_is_an_error(
    repositories: Repositories, shelf: Shelf
) -> None:
    await make(repositories, *await shelf.packages("a"))

    with pytest.raises(VersionNotFoundError, match="has no complete version 7; its latest is 1"):
        await repositories.roll_back("r", 7)
    with pytest.raises(RepositoryNotFoundError):
        await repositories.roll_back("nowhere", 1)
    assert await repositories.names() == ["r"]
