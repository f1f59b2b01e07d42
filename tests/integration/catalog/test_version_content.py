"""What versions hold and how they differ, read back."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import product

import pytest
from blake3 import blake3

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import RepositoryNotFoundError, VersionNotFoundError
from flowsync.model.artifact import Artifact
from flowsync.model.repository import Change, Repository, VersionEntry
from tests.integration.catalog.units import File, Package, Shelf

R = Repository(name="r")


async def add(repositories: Repositories, *units: bytes) -> None:
    async with repositories.new_version(R) as version:
        await version.add_content(units)


async def replace(repositories: Repositories, *units: bytes) -> None:
    async with repositories.new_version(R) as version:
        await version.set_content(units)


async def entries(
    repositories: Repositories, number: int | None = None, pattern: str | None = None
) -> list[VersionEntry]:
    batches = repositories.entries("r", number, pattern)
    return [entry async for batch in batches for entry in batch]


async def changes(repositories: Repositories, before: int, after: int) -> list[Change]:
    batches = repositories.difference("r", before, after)
    return [change async for batch in batches for change in batch]


async def ids(batches: AsyncIterator[list[bytes]]) -> set[bytes]:
    return {unit async for batch in batches for unit in batch}


async def test_entries_tell_all_that_is_known(repositories: Repositories, shelf: Shelf) -> None:
    stored = await shelf.put(File(relative_path="b", body="x"), {"b": b"body"})
    declared = await shelf.put(Package(name="p"), {"a/p": None, "a/p.sig": None})
    await shelf.declare(declared, "a/p", Artifact(sha256="5" * 64, size=7))
    await shelf.declare(declared, "a/p.sig", Artifact(md5="5" * 32))
    await add(repositories, stored, declared)

    assert await entries(repositories) == [
        VersionEntry(
            content_id=declared,
            type="test.package",
            relative_path="a/p",
            sha256="5" * 64,
            blake3=None,
            size=7,
            stored=False,
        ),
        VersionEntry(
            content_id=declared,
            type="test.package",
            relative_path="a/p.sig",
            sha256=None,
            blake3=None,
            size=None,
            stored=False,
        ),
        VersionEntry(
            content_id=stored,
            type="test.file",
            relative_path="b",
            sha256=hashlib.sha256(b"body").hexdigest(),
            blake3=blake3(b"body").hexdigest(),
            size=4,
            stored=True,
        ),
    ]


async def test_entries_come_in_order_of_code_points(
    repositories: Repositories, shelf: Shelf
) -> None:
    await add(repositories, *await shelf.files("b", "a/b", "Z", "a-b", "ä", "a0", "10", "9"))

    found = [entry.relative_path for entry in await entries(repositories)]

    assert found == ["10", "9", "Z", "a-b", "a/b", "a0", "b", "ä"]


async def test_entries_of_each_version_and_of_the_latest(
    repositories: Repositories, shelf: Shelf
) -> None:
    await add(repositories, *await shelf.files("a"))
    await add(repositories, *await shelf.files("b"))

    found = [
        [entry.relative_path for entry in await entries(repositories, number)]
        for number in (0, 1, 2, None)
    ]

    assert found == [[], ["a"], ["a", "b"], ["a", "b"]]


async def test_entries_by_glob(repositories: Repositories, shelf: Shelf) -> None:
    await add(repositories, *await shelf.files("a.txt", "a/b.txt", "a/b.bin", "[x].txt", "A.txt"))

    async def matching(pattern: str) -> list[str]:
        return [entry.relative_path for entry in await entries(repositories, None, pattern)]

    assert await matching("*.txt") == ["A.txt", "[x].txt", "a.txt", "a/b.txt"]
    assert await matching("a/*") == ["a/b.bin", "a/b.txt"]
    assert await matching("?.txt") == ["A.txt", "a.txt"]
    assert await matching("[[]x].txt") == ["[x].txt"]
    assert await matching("txt") == []


async def test_entries_come_in_batches_over_a_connection_of_their_own(
    repositories: Repositories, shelf: Shelf, database: Database
) -> None:
    await add(repositories, *await shelf.files(*(f"{number:04}" for number in range(4001))))
    sizes = []
    paths = []

    async for batch in repositories.entries("r"):
        sizes.append(len(batch))
        paths += [entry.relative_path for entry in batch]
        async with database.transaction() as connection:
            await connection.execute("SELECT 1")

    assert sizes == [2000, 2000, 1]
    assert paths == [f"{number:04}" for number in range(4001)]


async def test_reading_may_stop_early(repositories: Repositories, shelf: Shelf) -> None:
    await add(repositories, *await shelf.files("a", "b"))

    async with aclosing(repositories.entries("r")) as batches:
        first = await anext(batches)

    assert len(first) == 2


async def test_difference_tells_added_removed_and_changed_paths(
    repositories: Repositories, shelf: Shelf
) -> None:
    await replace(repositories, *await shelf.files("b", "d", "same", body="old"))
    (same,) = await shelf.files("same", body="old")
    await replace(repositories, same, *await shelf.files("a", "b", "c", body="new"))

    found = await changes(repositories, 1, 2)

    assert [(change.relative_path, change.kind) for change in found] == [
        ("a", "added"),
        ("b", "changed"),
        ("c", "added"),
        ("d", "removed"),
    ]
    old = {entry.relative_path: entry for entry in await entries(repositories, 1)}
    new = {entry.relative_path: entry for entry in await entries(repositories, 2)}
    assert [change.before for change in found] == [None, old["b"], None, old["d"]]
    assert [change.after for change in found] == [new["a"], new["b"], new["c"], None]


async def test_difference_runs_backwards_too(repositories: Repositories, shelf: Shelf) -> None:
    await replace(repositories, *await shelf.files("a", "b", body="old"))
    await replace(repositories, *await shelf.files("b", "c", body="new"))

    forward = await changes(repositories, 1, 2)
    backward = await changes(repositories, 2, 1)

    assert [change.kind for change in forward] == ["removed", "changed", "added"]
    assert [change.kind for change in backward] == ["added", "changed", "removed"]
    assert [(change.before, change.after) for change in backward] == [
        (change.after, change.before) for change in forward
    ]


async def test_units_that_share_a_path_are_paired_in_order(
    repositories: Repositories, shelf: Shelf
) -> None:
    shared = [
        await shelf.put(Package(name=name), {"shared": b"same"}) for name in ("one", "two", "three")
    ]
    low, middle, high = sorted(shared)
    await replace(repositories, low, high)
    await replace(repositories, middle)

    found = await changes(repositories, 1, 2)

    assert [change.kind for change in found] == ["changed", "removed"]
    assert [change.before and change.before.content_id for change in found] == [low, high]
    assert [change.after and change.after.content_id for change in found] == [middle, None]


async def test_first_version_added_everything(repositories: Repositories, shelf: Shelf) -> None:
    units = await shelf.files("a", "b")
    await add(repositories, *units)

    assert await ids(repositories.added_ids("r", 1)) == set(units)
    assert await ids(repositories.removed_ids("r", 1)) == set()
    assert await ids(repositories.added_ids("r", 0)) == set()
    assert await ids(repositories.removed_ids("r", 0)) == set()


async def test_version_compared_with_itself_shows_nothing(
    repositories: Repositories, shelf: Shelf
) -> None:
    await add(repositories, *await shelf.files("a", "b"))

    assert await ids(repositories.added_ids("r", 1, base=1)) == set()
    assert await ids(repositories.removed_ids("r", 1, base=1)) == set()
    assert await changes(repositories, 1, 1) == []


async def test_versions_seven_apart_compare_with_content_that_came_and_went(
    repositories: Repositories, shelf: Shelf
) -> None:
    a, b, c, d = await shelf.packages("a", "b", "c", "d")
    sets = [{a, b}, {b}, {b, c}, {a, c}, {a, c, d}, {a, b, d}, {d}, {a, d}]
    for units in sets:
        await replace(repositories, *units)

    for (older, before), (newer, after) in product(enumerate(sets, start=1), repeat=2):
        assert await ids(repositories.added_ids("r", newer, base=older)) == after - before
    assert await ids(repositories.removed_ids("r", 8, base=1)) == {b}


async def test_missing_artifacts_are_counted(repositories: Repositories, shelf: Shelf) -> None:
    stored = await shelf.put(Package(name="stored"), {"a": b"1", "b": b"2"})
    partly = await shelf.put(Package(name="partly"), {"c": b"1", "d": None, "e": None})
    await shelf.files("elsewhere")
    await add(repositories, stored)
    await add(repositories, partly)

    assert await repositories.missing_artifacts("r", 0) == 0
    assert await repositories.missing_artifacts("r", 1) == 0
    assert await repositories.missing_artifacts("r", 2) == 2
    assert await repositories.missing_artifacts("r") == 2


async def test_reading_what_does_not_exist_is_an_error(repositories: Repositories) -> None:
    await repositories.ensure(R)

    for batches in (
        repositories.entries("nowhere"),
        repositories.difference("nowhere", 0, 0),
        repositories.content_ids("nowhere"),
        repositories.added_ids("nowhere", 0),
    ):
        with pytest.raises(RepositoryNotFoundError, match="no repository is named 'nowhere'"):
            await anext(batches)
    for batches in (
        repositories.entries("r", 1),
        repositories.difference("r", 0, 1),
        repositories.difference("r", 1, 0),
        repositories.content_ids("r", 1),
        repositories.added_ids("r", 1),
        repositories.removed_ids("r", 0, base=1),
    ):
        with pytest.raises(VersionNotFoundError, match="repository 'r' has no complete version 1"):
            await anext(batches)


async def test_unfinished_version_is_not_read(repositories: Repositories, shelf: Shelf) -> None:
    async with repositories.new_version(R) as version:
        await version.add_content(await shelf.files("a"))
        with pytest.raises(VersionNotFoundError):
            await entries(repositories, 1)
