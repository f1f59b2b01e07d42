"""Syncs that remember upstream item by item, fetch what changed, and keep the rest by groups."""

import msgspec
import pytest

from flowsync import (
    Content,
    DeclarationError,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Remote,
    Repository,
    Stage,
    SyncResult,
)
from tests.integration.sync.conftest import engine as engine
from tests.integration.sync.conftest import paths
from tests.kinds.branches import BranchesStage, put_shelves
from tests.kinds.shelf import Book
from tests.upstream.server import Upstream

SHELVES = {
    "maps": {"north": b"n", "south": b"s"},
    "poems": {"odes": b"o"},
    "prose": {"tales": b"t"},
}


def declared(
    engine: Engine, url: str, *, fails_at_end: bool = False, mirror: bool = True, **options: object
) -> DeclarativeVersion:
    stage = BranchesStage(Remote(name="branches", url=url, max_retries=0))
    stage.fails_at_end = fails_at_end
    return DeclarativeVersion(
        stage,
        Repository(name="branches"),
        mirror,
        engine=engine,
        max_removal=1.0,
        **options,  # type: ignore[arg-type]
    )


async def sync(engine: Engine, url: str, **options: bool) -> SyncResult:
    version = declared(engine, url, **options)
    await version.acreate()
    assert version.result is not None
    return version.result


def lists_fetched(upstream: Upstream) -> list[str]:
    """Return which lists of books were asked for."""
    return sorted(name for name in SHELVES for _ in upstream.requests(f"/{name}.json"))


async def test_only_what_changed_is_fetched_and_a_mirror_keeps_the_rest(
    engine: Engine, upstream: Upstream
) -> None:
    await sync(engine, put_shelves(upstream, SHELVES))
    changed = {**SHELVES, "poems": {"odes": b"o", "songs": b"x"}}

    result = await sync(engine, put_shelves(upstream, changed))

    assert (result.added, result.removed, result.present) == (1, 0, 8)
    assert lists_fetched(upstream) == ["maps", "poems", "poems", "prose"]
    assert sorted(await paths(engine, "branches")) == [
        "books/maps/north",
        "books/maps/south",
        "books/poems/odes",
        "books/poems/songs",
        "books/prose/tales",
    ]


async def test_what_upstream_has_no_more_goes_and_may_come_again(
    engine: Engine, upstream: Upstream
) -> None:
    await sync(engine, put_shelves(upstream, SHELVES))
    fewer = {name: books for name, books in SHELVES.items() if name != "maps"}

    gone = await sync(engine, put_shelves(upstream, fewer))
    back = await sync(engine, put_shelves(upstream, SHELVES))

    assert (gone.removed, gone.present) == (3, 4)
    assert (back.added, back.present) == (3, 7)
    assert lists_fetched(upstream) == ["maps", "maps", "poems", "prose"]


async def test_an_unchanged_upstream_is_skipped(engine: Engine, upstream: Upstream) -> None:
    url = put_shelves(upstream, SHELVES)
    await sync(engine, url)

    assert (await sync(engine, url)).skipped


async def test_what_a_failed_sync_saw_does_not_count(engine: Engine, upstream: Upstream) -> None:
    """It has written all its items, and completes no version."""
    await sync(engine, put_shelves(upstream, SHELVES))
    changed = {**SHELVES, "poems": {"odes": b"o", "songs": b"x"}}
    url = put_shelves(upstream, changed)

    with pytest.raises(RuntimeError, match="at the end"):
        await sync(engine, url, fails_at_end=True)
    result = await sync(engine, url)

    assert result.added == 1
    assert lists_fetched(upstream) == ["maps", "poems", "poems", "poems", "prose"]


async def test_after_a_rollback_all_is_fetched(engine: Engine, upstream: Upstream) -> None:
    """The tokens prove what another version held."""
    await sync(engine, put_shelves(upstream, {"poems": {"odes": b"o"}}))
    url = put_shelves(upstream, SHELVES)
    await sync(engine, url)
    await engine.catalog.repositories.roll_back("branches", 1)

    result = await sync(engine, url)

    assert result.present == 7
    assert lists_fetched(upstream).count("poems") == 2
    assert lists_fetched(upstream).count("maps") == 2


async def test_after_something_was_left_out_all_is_fetched(
    engine: Engine, upstream: Upstream
) -> None:
    await sync(engine, put_shelves(upstream, SHELVES))
    changed = {**SHELVES, "poems": {"odes": b"o", "songs": b"x"}}
    url = put_shelves(upstream, changed)
    upstream.put("/poems/songs", b"wrong")
    version = declared(engine, url, on_error="skip")
    await version.acreate()
    upstream.put("/poems/songs", b"x")

    result = await sync(engine, url)

    assert (result.added, result.present) == (1, 8)


async def test_a_plan_foretells_what_is_kept_and_remembers_nothing(
    engine: Engine, upstream: Upstream
) -> None:
    await sync(engine, put_shelves(upstream, SHELVES))
    changed = {**SHELVES, "poems": {"odes": b"new"}}
    url = put_shelves(upstream, changed)

    plan = await declared(engine, url).aplan()
    version = await declared(engine, url, plan=plan).acreate()

    assert (plan.added, plan.removed) == (1, 1)
    assert version is not None
    assert version.root == plan.root


async def test_a_full_pass_comes_to_the_same_root_as_one_that_keeps(
    engine: Engine, upstream: Upstream
) -> None:
    await sync(engine, put_shelves(upstream, SHELVES))
    url = put_shelves(upstream, {**SHELVES, "maps": {"north": b"N"}})
    await sync(engine, url)
    kept = await engine.catalog.repositories.version("branches")

    await sync(engine, url, force=True)

    assert await engine.catalog.repositories.version("branches") == kept


async def test_a_group_that_the_version_lacks_is_told(engine: Engine, upstream: Upstream) -> None:
    lacking: list[object] = []

    class Asks(Stage):
        async def run(self) -> None:
            await self.put(DeclarativeContent(Note("x", "a")))
            lacking[:] = await self.context.keep(Note, [("a",), ("b",)])

    class Note(Content):
        natural_key = ("text",)
        group_key = ("topic",)
        text: str
        topic: str

    for _ in range(2):
        await DeclarativeVersion(Asks(), Repository(name="notes"), True, engine=engine).acreate()

    assert lacking == [("b",)]


async def test_what_is_no_group_of_a_type_is_refused(engine: Engine) -> None:
    class Asks(Stage):
        async def run(self) -> None:
            await self.context.keep(Book, [("poems", "odes")])

    with pytest.raises(DeclarationError, match=r"a group of Book is told by \['shelf'\]"):
        await DeclarativeVersion(Asks(), Repository(name="notes"), engine=engine).acreate()


async def test_an_item_that_cannot_be_kept_is_refused(engine: Engine) -> None:
    class Asks(Stage):
        async def run(self) -> None:
            await self.context.upstream.remember_items({"six": msgspec.Raw(b"x")})

    with pytest.raises(DeclarationError, match="the upstream item 'six'"):
        await DeclarativeVersion(Asks(), Repository(name="notes"), engine=engine).acreate()
