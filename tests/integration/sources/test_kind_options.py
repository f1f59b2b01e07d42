"""Options of a kind: given to its first stage, and part of what makes a sync skippable."""

import hashlib
import json
from collections.abc import Mapping

import msgspec
import pytest

from flowsync import (
    DeclarationError,
    DeclarativeVersion,
    Engine,
    Remote,
    Repository,
    SourceKind,
    Stage,
    SyncResult,
)
from tests.integration.sync.conftest import engine as engine
from tests.integration.sync.conftest import paths
from tests.kinds.shelf import SHELF, ShelfOptions
from tests.upstream.server import Upstream

BOOKS = {"poems/odes": b"one", "poems/songs": b"two", "maps/north": b"three"}


def put_books(upstream: Upstream, books: Mapping[str, bytes]) -> str:
    """Put books and their list upstream; return the list's URL."""
    listed = []
    for name, text in books.items():
        shelf, _, title = name.partition("/")
        upstream.put(f"/books/{name}", text)
        listed.append({"shelf": shelf, "title": title, "sha256": hashlib.sha256(text).hexdigest()})
    return upstream.put("/list.json", json.dumps(listed).encode(), etag=None)


async def sync(
    engine: Engine, url: str, options: msgspec.Struct, *, mirror: bool = True
) -> SyncResult:
    remote = Remote(name="shelf", url=url, max_retries=0)
    stage = SHELF.first_stage(remote, options)
    declared = DeclarativeVersion(
        stage, Repository(name="shelf"), mirror, engine=engine, max_removal=1.0
    )
    await declared.acreate()
    assert declared.result is not None
    return declared.result


async def test_the_first_stage_gets_its_options(engine: Engine, upstream: Upstream) -> None:
    url = put_books(upstream, BOOKS)

    await sync(engine, url, ShelfOptions(frozenset({"poems"})))

    assert sorted(await paths(engine, "shelf")) == ["books/poems/odes", "books/poems/songs"]


async def test_equal_options_are_skipped_and_others_are_not(
    engine: Engine, upstream: Upstream
) -> None:
    """The stage names none of its options when it recalls and remembers."""
    url = put_books(upstream, BOOKS)
    poems = ShelfOptions(frozenset({"poems"}))
    both = ShelfOptions(frozenset({"poems", "maps"}))

    results = [
        await sync(engine, url, options) for options in (poems, poems, both, both, poems, poems)
    ]

    assert [result.skipped for result in results] == [False, True, False, True, False, True]
    assert [result.present for result in results] == [2, 2, 3, 3, 2, 2]


async def test_what_an_older_flowsync_remembered_without_options_skips_nothing(
    engine: Engine, upstream: Upstream
) -> None:
    url = put_books(upstream, BOOKS)
    await sync(engine, url, ShelfOptions())
    async with engine.catalog.database.connection() as connection:
        await connection.execute(
            "UPDATE repository SET last_sync = last_sync #- '{terms,kind_options}'"
        )

    result = await sync(engine, url, ShelfOptions())

    assert not result.skipped


def test_options_of_another_type_are_refused() -> None:
    class Others(msgspec.Struct):
        shelves: list[str] = []

    with pytest.raises(DeclarationError, match="takes its options as a ShelfOptions, found Others"):
        SHELF.first_stage(Remote(name="shelf", url="http://h/"), Others())


def test_a_kind_without_options_makes_its_stage_from_the_remote_alone() -> None:
    class Plain(Stage):
        def __init__(self, remote: Remote) -> None:
            self.remote = remote

    kind = SourceKind(name="plain", summary="", first_stage=Plain)

    assert isinstance(kind.first_stage(Remote(name="plain", url="http://h/")), Plain)
