"""Options of a kind: given to its first stage, and part of what makes a sync skippable."""

import msgspec
import pytest

from flowsync import (
    DeclarationError,
    Engine,
    Remote,
    SourceKind,
    Stage,
)
from tests.integration.sync.conftest import engine as engine
from tests.integration.sync.conftest import paths
from tests.kinds.shelf import SHELF, ShelfOptions, ShelfStage, put_books, sync_shelves
from tests.upstream.server import Upstream

BOOKS = {"poems/odes": b"one", "poems/songs": b"two", "maps/north": b"three"}


async def test_the_first_stage_gets_its_options(engine: Engine, upstream: Upstream) -> None:
    url = put_books(upstream, BOOKS)

    await sync_shelves(engine, url, ShelfOptions(frozenset({"poems"})))

    assert sorted(await paths(engine, "shelf")) == ["books/poems/odes", "books/poems/songs"]


async def test_equal_options_are_skipped_and_others_are_not(
    engine: Engine, upstream: Upstream
) -> None:
    """The stage names none of its options when it recalls and remembers."""
    url = put_books(upstream, BOOKS)
    poems = ShelfOptions(frozenset({"poems"}))
    both = ShelfOptions(frozenset({"poems", "maps"}))

    results = [
        await sync_shelves(engine, url, options)
        for options in (poems, poems, both, both, poems, poems)
    ]

    assert [result.skipped for result in results] == [False, True, False, True, False, True]
    assert [result.present for result in results] == [3, 3, 5, 5, 3, 3]


async def test_what_an_older_flowsync_remembered_without_options_skips_nothing(
    engine: Engine, upstream: Upstream
) -> None:
    url = put_books(upstream, BOOKS)
    await sync_shelves(engine, url, ShelfOptions())
    async with engine.catalog.database.connection() as connection:
        await connection.execute(
            "UPDATE repository SET last_sync = last_sync #- '{terms,kind_options}'"
        )

    result = await sync_shelves(engine, url, ShelfOptions())

    assert not result.skipped


def test_options_of_another_type_are_refused() -> None:
    class Others(msgspec.Struct):
        shelves: list[str] = []

    with pytest.raises(DeclarationError, match="takes its options as a ShelfOptions, found Others"):
        SHELF.first_stage(Remote(name="shelf", url="http://h/"), Others())


def test_without_options_those_count_that_nothing_was_set_of() -> None:
    class Strict(msgspec.Struct):
        suites: list[str]

    remote = Remote(name="shelf", url="http://h/")
    strict = SourceKind(name="strict", summary="", first_stage=ShelfStage, options=Strict)

    assert SHELF.first_stage(remote).kind_options == ShelfOptions()
    with pytest.raises(DeclarationError, match=r"source 'strict' needs options: .*suites"):
        strict.first_stage(remote)


def test_a_kind_without_options_makes_its_stage_from_the_remote_alone() -> None:
    class Plain(Stage):
        def __init__(self, remote: Remote) -> None:
            self.remote = remote

    kind = SourceKind(name="plain", summary="", first_stage=Plain)

    assert isinstance(kind.first_stage(Remote(name="plain", url="http://h/")), Plain)
