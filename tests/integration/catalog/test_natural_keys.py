"""A natural key is once in a version, however many units are stored with it."""

from typing import ClassVar

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.schema import migrate, migrations
from flowsync.catalog.records.contents import Contents, Link
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import DuplicateContentError
from flowsync.model.content import Content, key_id
from flowsync.model.repository import Repository

R = Repository(name="r")


class Note(Content):
    """A unit with a field beyond its key."""

    type_name: ClassVar[str] = "test.note"
    natural_key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    text: str = ""


class Page(Content):
    """A unit whose repository key is not part of its natural key."""

    type_name: ClassVar[str] = "test.page"
    natural_key: ClassVar[tuple[str, ...]] = ("name",)
    repo_key: ClassVar[tuple[str, ...]] = ("number",)
    name: str
    number: int = 0


async def put(database: Database, unit: Content, content_id: bytes, *paths: str) -> bytes:
    """Save a unit under an id, as a sync would that declared it otherwise than other units of its
    key.
    """
    async with Contents(database).transaction() as transaction:
        keys = {content_id: key_id(unit)} if content_id != key_id(unit) else {}
        await transaction.insert({content_id: unit}, keys)
        await transaction.link([Link(content_id=content_id, relative_path=path) for path in paths])
    return content_id


@pytest.fixture
async def notes(database: Database) -> list[bytes]:
    """Store three units of one natural key: the first as older versions of flowsync did, under the
    id of the key.
    """
    return [
        await put(database, Note("a", "zero"), key_id(Note("a")), "at/zero"),
        await put(database, Note("a", "one"), b"1" * 16, "at/one"),
        await put(database, Note("a", "two"), b"2" * 16, "at/two"),
    ]


async def present(repositories: Repositories) -> set[bytes]:
    return {unit async for batch in repositories.content_ids("r") for unit in batch}


@pytest.mark.parametrize("old", range(3))
@pytest.mark.parametrize("new", range(3))
async def test_newer_unit_of_a_key_replaces_the_older(
    repositories: Repositories, notes: list[bytes], old: int, new: int
) -> None:
    async with repositories.new_version(R) as first:
        await first.add_content([notes[old]])
    async with repositories.new_version(R) as second:
        await second.add_content([notes[new]])

    assert await present(repositories) == {notes[new]}
    assert (second.completed is None) is (old == new)
    before = {unit async for batch in repositories.content_ids("r", 1) for unit in batch}
    assert before == {notes[old]}


@pytest.mark.parametrize("pair", [(0, 1), (1, 2)])
async def test_two_units_of_a_key_cannot_be_added_together(
    repositories: Repositories, notes: list[bytes], pair: tuple[int, int]
) -> None:
    with pytest.raises(DuplicateContentError) as caught:
        async with repositories.new_version(R) as version:
            await version.add_content(notes[number] for number in pair)

    shown = sorted(["at/zero", "at/one", "at/two"][number] for number in pair)
    assert all(repr(path) in str(caught.value) for path in shown), caught.value


async def test_natural_key_excludes_where_the_repository_key_does_not(
    repositories: Repositories, database: Database
) -> None:
    one = await put(database, Page("a", 1), b"1" * 16)
    two = await put(database, Page("a", 2), b"2" * 16)
    async with repositories.new_version(R) as version:
        await version.add_content([one])
    async with repositories.new_version(R) as version:
        await version.add_content([two])

    assert await present(repositories) == {two}


async def test_content_stands_for_the_unit_that_is_stored(
    repositories: Repositories, database: Database
) -> None:
    unit = await put(database, Note("b", "stored"), b"3" * 16)

    async with repositories.new_version(R) as version:
        assert await version.add_content([Note("b", "given"), Note("unknown")]) == 1

    assert await present(repositories) == {unit}


async def test_content_stands_for_the_one_with_its_fields_of_several(
    repositories: Repositories, notes: list[bytes]
) -> None:
    async with repositories.new_version(R) as version:
        assert await version.add_content([Note("a", "one")]) == 1
        await version.set_content([Note("a", "two")])

    assert await present(repositories) == {notes[2]}


async def test_content_that_could_be_several_units_is_refused(
    repositories: Repositories, notes: list[bytes]
) -> None:
    async with repositories.new_version(R) as version:
        for call in (version.add_content, version.set_content):
            with pytest.raises(DuplicateContentError, match=notes[1].hex()):
                await call([Note("a", "three")])


@pytest.mark.parametrize("there", range(3))
async def test_removing_a_content_removes_whichever_of_its_units_is_there(
    repositories: Repositories, notes: list[bytes], there: int
) -> None:
    async with repositories.new_version(R) as version:
        await version.add_content([notes[there]])
    async with repositories.new_version(R) as version:
        assert await version.remove_content([Note("a", "three")]) == 1

    assert await present(repositories) == set()


@pytest.mark.parametrize("there", range(3))
async def test_a_mirror_keeps_whichever_unit_of_a_kept_key_is_there(
    repositories: Repositories, notes: list[bytes], there: int
) -> None:
    async with repositories.new_version(R) as version:
        await version.add_content([notes[there]])
    async with repositories.new_version(R) as version:
        await version.keep([key_id(Note("a"))], [None])
        assert await version.remove_unseen() == 0


async def test_versions_of_an_older_database_hold_what_they_held(empty_conninfo: str) -> None:
    database = Database(empty_conninfo)
    number = next(each.number for each in migrations() if each.name == "identity")
    async with database.dedicated() as connection:
        await migrate(connection, [each for each in migrations() if each.number < number])
        await connection.execute(
            """
            INSERT INTO remote (name, url, policy) VALUES ('u', 'http://u/', 'on_demand');
            INSERT INTO repository (name, next_version) VALUES ('r', 2);
            INSERT INTO repository_version (repository_id, number, complete)
                VALUES (1, 0, true), (1, 1, true);
            INSERT INTO content (id, type, fields)
                VALUES (decode(repeat('11', 16), 'hex'), 'test.note', '{}');
            INSERT INTO content_artifact SELECT id, 'a' FROM content;
            INSERT INTO remote_artifact (content_id, relative_path, remote_id, urls, size, sha256)
                SELECT id, 'a', 1, '{http://u/a}', 5, decode(repeat('22', 32), 'hex') FROM content;
            INSERT INTO repository_content (repository_id, content_id, added)
                SELECT 1, id, 1 FROM content;
            """
        )
    await database.open()
    try:
        batches = Repositories(database).entries("r", 1)
        ((entry,),) = [batch async for batch in batches]
    finally:
        await database.close()

    assert entry.content_id == b"\x11" * 16
    assert (entry.sha256, entry.size, entry.stored) == ("22" * 32, 5, False)
