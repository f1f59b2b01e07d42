"""The content units that are recorded, and their links."""

from datetime import UTC, datetime
from typing import ClassVar

import pytest
from psycopg.errors import CheckViolation

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.records.contents import Artifacts, Contents, Link
from flowsync.model.content import Content, key_id
from tests.integration.catalog.rows import Leaf, Package, by_id, staged

LONG_AGO = datetime(2001, 2, 3, tzinfo=UTC)


@pytest.fixture
def contents(database: Database) -> Contents:
    return Contents(database)


@pytest.fixture
async def ids(database: Database) -> list[int]:
    """Give the ids of four stored artifacts."""
    artifacts = Artifacts(database, lambda name: name)
    return [each.id for each in await artifacts.save([staged(b"%d" % n) for n in range(4)])]


async def save(contents: Contents, *units: Content, links: list[Link] | None = None) -> set[bytes]:
    async with contents.transaction() as transaction:
        inserted = await transaction.insert(by_id(*units))
        if links:
            await transaction.link(links)
        return inserted


def link(unit: Content, path: str, artifact_id: int | None = None) -> Link:
    return Link(content_id=key_id(unit), relative_path=path, artifact_id=artifact_id)


async def test_insert_tells_which_units_are_new(contents: Contents) -> None:
    a, b, c = Leaf("a"), Leaf("b"), Leaf("c")
    assert await save(contents, a, b) == {key_id(a), key_id(b)}

    assert await save(contents, b, c) == {key_id(c)}
    assert await save(contents, a, b, c) == set()


async def test_find_gives_stored_units_with_their_links(contents: Contents, ids: list[int]) -> None:
    a, b = Leaf("a"), Leaf("b")
    links = [link(a, "two", ids[0]), link(a, "one"), link(b, "one", ids[1])]
    await save(contents, a, b, links=links)

    found = await contents.find(by_id(a, b, Leaf("unknown")))

    assert found == {
        key_id(a): {"one": None, "two": ids[0]},
        key_id(b): {"one": ids[1]},
    }


async def test_find_gives_units_without_links(contents: Contents) -> None:
    await save(contents, Leaf("a"))

    assert await contents.find(by_id(Leaf("a"))) == {key_id(Leaf("a")): {}}


async def test_units_of_two_types_with_equal_keys_do_not_meet(contents: Contents) -> None:
    class Other(Content):
        type_name: ClassVar[str] = "test.other"
        natural_key: ClassVar[tuple[str, ...]] = ("name",)
        name: str

    await save(contents, Leaf("a"))

    assert await contents.find(by_id(Other("a"))) == {}
    assert await save(contents, Other("a")) == {key_id(Other("a"))}


async def test_unit_is_recorded_with_type_fields_and_repository_key(
    contents: Contents, database: Database
) -> None:
    await save(contents, Leaf("a"), Package("p", "1"))

    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT type, fields, octet_length(repo_key) FROM content ORDER BY type"
        )
        assert await cursor.fetchall() == [
            ("test.leaf", {"name": "a"}, None),
            ("test.package", {"name": "p", "version": "1", "summary": "", "requires": []}, 16),
        ]


async def test_fill_gives_links_their_artifact_and_counts_what_changed(
    contents: Contents, ids: list[int]
) -> None:
    """A stored unit never changes: an artifact goes from none to one, never to another one and
    never back.
    """
    unit = Leaf("a")
    paths = ["none", "same", "other", "back"]
    stored = [None, ids[0], ids[1], ids[2]]
    await save(
        contents, unit, links=[link(unit, *each) for each in zip(paths, stored, strict=True)]
    )

    async with contents.transaction() as transaction:
        changed = await transaction.fill(
            [
                link(unit, "none", ids[3]),
                link(unit, "same", ids[0]),
                link(unit, "other", ids[3]),
                link(unit, "back", None),
                link(unit, "missing", ids[0]),
            ]
        )

    assert changed == 1
    found = await contents.find(by_id(unit))
    assert found[key_id(unit)] == {
        "none": ids[3], "same": ids[0], "other": ids[1], "back": ids[2]
    }  # fmt: skip


async def test_link_that_had_bytes_once_takes_no_others(
    contents: Contents, database: Database, ids: list[int]
) -> None:
    unit = Leaf("a")
    await save(contents, unit, links=[link(unit, "p"), link(unit, "q")])
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE content_artifact SET sha256 = a.sha256 FROM artifact a WHERE a.id = %s",
            (ids[0],),
        )

    async with contents.transaction() as transaction:
        assert await transaction.fill([link(unit, "p", ids[1]), link(unit, "q", ids[0])]) == 1

    assert (await contents.find(by_id(unit)))[key_id(unit)] == {"p": None, "q": ids[0]}


async def test_content_stands_for_all_that_is_stored_with_its_natural_key(
    contents: Contents,
) -> None:
    one, other = Package("p", "1", summary="one"), Package("p", "1", summary="other")
    async with contents.transaction() as transaction:
        units = {b"1" * 16: one, b"2" * 16: other, key_id(Leaf("a")): Leaf("a")}
        await transaction.insert(units, dict.fromkeys([b"1" * 16, b"2" * 16], key_id(one)))

    found = await contents.of_keys([other, Package("p", "2"), Leaf("a")])

    assert found == [[b"1" * 16, b"2" * 16], [], [key_id(Leaf("a"))]]


async def test_fill_takes_the_last_of_two_for_one_path(contents: Contents, ids: list[int]) -> None:
    unit = Leaf("a")
    await save(contents, unit, links=[link(unit, "p")])

    async with contents.transaction() as transaction:
        assert await transaction.fill([link(unit, "p", ids[0]), link(unit, "p", ids[1])]) == 1

    assert (await contents.find(by_id(unit)))[key_id(unit)] == {"p": ids[1]}


async def test_fill_of_nothing_asks_nobody(contents: Contents, database: Database) -> None:
    async with contents.transaction() as transaction:
        before = database.round_trips
        assert await transaction.fill([link(Leaf("a"), "p", None)]) == 0
        assert database.round_trips == before


async def test_exception_undoes_the_whole_transaction(contents: Contents) -> None:
    async def fail() -> None:
        async with contents.transaction() as transaction:
            await transaction.insert(by_id(Leaf("a")))
            await transaction.link([link(Leaf("a"), "p")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert await contents.find(by_id(Leaf("a"))) == {}


async def test_hooks_can_use_tables_of_their_own_in_the_same_transaction(
    contents: Contents,
) -> None:
    async def fail() -> None:
        async with contents.transaction() as transaction:
            await transaction.execute(b"CREATE TABLE extra (name text)")
            await transaction.execute(b"INSERT INTO extra VALUES (%s)", ("a",))
            cursor = await transaction.execute(b"SELECT name FROM extra")
            assert await cursor.fetchall() == [("a",)]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    async with contents.transaction() as transaction:
        cursor = await transaction.execute(b"SELECT to_regclass('extra')")
        assert await cursor.fetchone() == (None,)


async def test_transaction_finds_what_it_saved(contents: Contents) -> None:
    async with contents.transaction() as transaction:
        await transaction.insert(by_id(Leaf("a")))
        await transaction.link([link(Leaf("a"), "p")])

        found = await transaction.find(by_id(Leaf("a")))

        assert found == {key_id(Leaf("a")): {"p": None}}
        assert await contents.find(by_id(Leaf("a"))) == {}


async def test_a_batch_is_one_round_trip_to_find_and_four_to_save(
    contents: Contents, database: Database
) -> None:
    units = [Leaf(f"{number}") for number in range(100)]
    before = database.round_trips

    await contents.find(by_id(*units))
    await save(contents, *units, links=[link(unit, unit.name) for unit in units])

    assert database.round_trips - before == 1 + 4


async def test_find_marks_what_was_not_needed_within_the_hour(
    contents: Contents, database: Database
) -> None:
    """A look-up protects from clean-up; rows marked within the last hour are left
    alone.
    """
    await save(contents, Leaf("old"), Leaf("new"), Leaf("other"))
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE content SET touched_at = %s WHERE fields ->> 'name' <> 'new'", (LONG_AGO,)
        )
    before = await _touched(database)

    await contents.find(by_id(Leaf("old"), Leaf("new")))

    after = await _touched(database)
    assert after["old"] > before["new"]
    assert after["new"] == before["new"]
    assert after["other"] == LONG_AGO


async def _touched(database: Database) -> dict[str, datetime]:
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT fields ->> 'name', touched_at FROM content")
        return dict(await cursor.fetchall())


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "./a",
        "a/..",
        "a/../b",
        "a\nb",
        "a\x7f",
        "a\x85",
        "ü" * 1025,
    ],
)
async def test_the_schema_takes_no_path_that_leads_out_or_means_another(
    database: Database, path: str
) -> None:
    """Whatever code inserts it."""
    async with database.connection() as connection:
        with pytest.raises(CheckViolation):
            await connection.execute(
                "INSERT INTO content_artifact (content_id, relative_path) VALUES ('\\x00', %s)",
                [path],
            )
