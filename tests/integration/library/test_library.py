"""What a command line, a daemon and a web page do with repositories, without the catalog."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from flowsync import Content, DeclarativeContent, DeclarativeVersion, Engine, library
from flowsync.errors import (
    AlternateSourceNotFoundError,
    DeclarationError,
    DisallowedContentError,
    EngineClosedError,
    RepositoryBusyError,
    RepositoryNotFoundError,
    RunNotFoundError,
    VersionKeptError,
    VersionNotFoundError,
)
from flowsync.model.remote import Remote
from flowsync.model.repository import Repository
from flowsync.pipeline.stage import Stage
from flowsync.sources.file import FileFirstStage
from flowsync.upkeep.prune import remove_repository
from tests.integration.catalog.waiting import lock_waiters
from tests.integration.sync.conftest import Publish, Sync
from tests.upstream.behaviours import Status
from tests.upstream.server import Upstream

T = TypeVar("T")


async def collected(batches: AsyncGenerator[list[T], None]) -> list[T]:
    async with aclosing(batches):
        return [one async for batch in batches for one in batch]


@pytest.fixture
async def two_versions(publish: Publish, file_sync: Sync) -> None:
    """Version 1 has a and b; version 2 has a changed, c in place of b."""
    await file_sync(publish({"a": b"1", "b": b"2"}), mirror=True).acreate()
    await file_sync(publish({"a": b"one", "c": b"3"}), mirror=True, max_removal=1.0).acreate()


class Note(Content):
    type_name = "note"
    natural_key = ("text",)
    text: str


class Notes(Stage):
    def __init__(self, *texts: str) -> None:
        self.texts = texts

    async def run(self) -> None:
        for text in self.texts:
            await self.put(DeclarativeContent(content=Note(text)))


@pytest.mark.usefixtures("two_versions")
async def test_versions_are_listed_and_found(engine: Engine) -> None:
    found = await library.versions(engine, "files")

    assert [(version.number, version.present) for version in found] == [(0, 0), (1, 2), (2, 2)]
    assert await library.version(engine, "files") == found[2]
    assert await library.version(engine, "files", 1) == found[1]
    with pytest.raises(VersionNotFoundError, match="no complete version 7; its latest is 2"):
        await library.version(engine, "files", 7)
    with pytest.raises(RepositoryNotFoundError):
        await library.versions(engine, "nowhere")


@pytest.mark.usefixtures("two_versions")
async def test_the_latest_versions_of_all_repositories_are_one_query(engine: Engine) -> None:
    for name in ("zero", "another"):
        await library.ensure_repository(engine, Repository(name=name))
    before = engine.catalog.database.round_trips

    found = await library.latest_versions(engine)

    assert engine.catalog.database.round_trips - before == 1
    assert [(latest.repository, latest.number) for latest in found] == [
        ("another", 0),
        ("files", 2),
        ("zero", 0),
    ]
    assert found[1] == await library.version(engine, "files")
    assert await library.repository_names(engine) == ["another", "files", "zero"]


async def test_a_repository_is_made_and_changed_without_a_sync(engine: Engine) -> None:
    await library.ensure_repository(engine, Repository(name="r"))
    await library.ensure_repository(engine, Repository(name="r", retain_versions=3))

    assert await library.repository(engine, "r") == Repository(name="r", retain_versions=3)
    with pytest.raises(RepositoryNotFoundError):
        await library.repository(engine, "nowhere")


@pytest.mark.usefixtures("two_versions")
async def test_contents_and_differences_of_versions(engine: Engine) -> None:
    latest = await collected(library.entries(engine, "files"))
    first = await collected(library.entries(engine, "files", 1))
    only_b = await collected(library.entries(engine, "files", 1, "[b-z]"))
    changes = await collected(library.difference(engine, "files", 1, 2))

    assert [entry.relative_path for entry in latest] == ["a", "c"]
    assert [entry.relative_path for entry in first] == ["a", "b"]
    assert [entry.relative_path for entry in only_b] == ["b"]
    assert [(change.kind, change.relative_path) for change in changes] == [
        ("changed", "a"),
        ("removed", "b"),
        ("added", "c"),
    ]
    with pytest.raises(VersionNotFoundError):
        await collected(library.entries(engine, "files", 9))


@pytest.mark.usefixtures("two_versions")
async def test_the_fields_of_a_batch_of_entries_are_one_query(engine: Engine) -> None:
    entries = await collected(library.entries(engine, "files"))
    ids = [entry.content_id for entry in entries]
    before = engine.catalog.database.round_trips

    found = await library.unit_fields(engine, [*ids, b"of no unit that there is"])

    assert engine.catalog.database.round_trips - before == 1
    assert {unit.content_id: unit.fields["relative_path"] for unit in found} == {
        entry.content_id: entry.relative_path for entry in entries
    }
    assert {unit.type for unit in found} == {"file"}
    assert await library.unit_fields(engine, []) == []


async def test_units_without_files_have_their_fields(engine: Engine) -> None:
    repository = Repository(name="notes")
    for texts in (["x"], ["x", "y"]):
        await DeclarativeVersion(Notes(*texts), repository, engine=engine).acreate()

    units = await collected(library.bare_units(engine, "notes"))
    changes = await collected(library.bare_difference(engine, "notes", 1, 2))

    assert sorted(unit.fields["text"] for unit in units) == ["x", "y"]
    assert [(change.kind, change.unit.fields) for change in changes] == [("added", {"text": "y"})]


@pytest.mark.usefixtures("two_versions")
async def test_why_a_path_is_here_or_not(engine: Engine) -> None:
    here = await library.explain(engine, "files", "c")
    gone = await library.explain(engine, "files", "b")

    assert [presence.added for presence in here.present] == [2]
    assert not gone.present
    assert gone.removal is not None
    assert gone.removal.version == 2


@pytest.mark.usefixtures("two_versions")
async def test_rolling_back_makes_a_version_or_none(engine: Engine) -> None:
    made = await library.roll_back(engine, "files", 1)

    assert made is not None
    assert (made.number, made.info["rolled_back_to"]) == (3, 1)
    assert made.root == (await library.version(engine, "files", 1)).root
    assert await library.roll_back(engine, "files", 1) is None


@pytest.mark.usefixtures("two_versions")
async def test_a_version_is_promoted_to_another_repository(engine: Engine) -> None:
    made = await library.promote(engine, "files", "stable", number=1)
    again = await library.promote(engine, "files", "stable", number=1)
    newer = await library.promote(engine, "files", "stable")

    assert made is not None
    assert made.info["promoted_from"] == "files@1"
    assert made.root == (await library.version(engine, "files", 1)).root
    assert again is None
    assert newer is not None
    assert newer.root == (await library.version(engine, "files")).root
    assert [each.number for each in await library.versions(engine, "stable")] == [0, 1, 2]


@pytest.mark.usefixtures("two_versions")
async def test_what_was_promoted_stays_when_its_origin_goes(engine: Engine) -> None:
    promoted = await library.promote(engine, "files", "stable", number=1)
    await library.delete_version(engine, "files", 1)
    await remove_repository(engine, "files")

    kept = await library.version(engine, "stable")

    assert promoted is not None
    assert kept.root == promoted.root
    assert len(await collected(library.entries(engine, "stable"))) == 2


@pytest.mark.usefixtures("two_versions")
async def test_what_cannot_be_promoted_makes_no_repository(engine: Engine) -> None:
    with pytest.raises(RepositoryNotFoundError):
        await library.promote(engine, "nowhere", "stable")
    with pytest.raises(VersionNotFoundError):
        await library.promote(engine, "files", "stable", number=7)
    with pytest.raises(DeclarationError, match="roll it back"):
        await library.promote(engine, "files", "files", number=1)
    with pytest.raises(DeclarationError):
        await library.promote(engine, "files", "a/b")

    assert await library.repository_names(engine) == ["files"]


@pytest.mark.usefixtures("two_versions")
async def test_a_repository_takes_only_types_that_it_allows(engine: Engine) -> None:
    await library.ensure_repository(
        engine, Repository(name="stable", allowed_types=frozenset({"other"}))
    )

    with pytest.raises(DisallowedContentError):
        await library.promote(engine, "files", "stable")

    assert [each.number for each in await library.versions(engine, "stable")] == [0]


@pytest.mark.usefixtures("two_versions")
async def test_a_protected_version_is_deleted_only_when_it_is_unprotected(engine: Engine) -> None:
    await library.protect_version(engine, "files", 1)
    with pytest.raises(VersionKeptError):
        await library.delete_version(engine, "files", 1)

    await library.unprotect_version(engine, "files", 1)
    successor = await library.delete_version(engine, "files", 1)

    assert successor is not None
    assert (successor.number, successor.added) == (2, 2)
    assert [version.number for version in await library.versions(engine, "files")] == [0, 2]


async def test_what_something_holds_is_not_changed_without_waiting(
    engine: Engine, two_versions: None
) -> None:
    async with engine.new_version(Repository(name="files")):
        for change in (library.delete_version, library.roll_back):
            with pytest.raises(RepositoryBusyError):
                await change(engine, "files", 1, wait=False)


async def test_runs_and_what_they_left_out(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish({"a": b"1", "b": b"2"})
    upstream.always("/b", Status(404))
    await file_sync(url, on_error="skip").acreate()

    (listed,) = await library.runs(engine)
    left_out = await collected(library.left_out(engine, listed.number))

    assert (listed.repository, listed.state, listed.left_out) == ("files", "completed", 1)
    assert await library.run(engine, listed.number, "files") == listed
    assert [one.relative_path for one in left_out] == ["b"]
    assert await library.runs(engine, "files", limit=0) == []
    assert await library.remove_runs(engine, older_than=timedelta(0), apply=True) == 0
    assert await collected(library.left_out(engine, listed.number + 1)) == []
    with pytest.raises(RunNotFoundError):
        await library.run(engine, listed.number + 1)


async def test_an_alternate_source_is_recorded_read_and_forgotten(
    engine: Engine, publish: Publish
) -> None:
    """The name of the remote that is given does not count: the source has one of its own."""
    remote = Remote(name="mine", url=publish({"a": b"1", "b": b"2"}), max_retries=0)
    await library.add_alternate_source(engine, "near", "file", remote, priority=3)

    (refreshed,) = await library.refresh_alternate_source(engine, "near", FileFirstStage)
    (source,) = await library.alternate_sources(engine)

    assert (refreshed.units, refreshed.changed, refreshed.error) == (2, True, None)
    assert (source.name, source.kind, source.url, source.priority) == (
        "near",
        "file",
        remote.url,
        3,
    )
    assert source.last_refreshed is not None
    assert await library.alternate_source(engine, "near") == source
    assert await library.latest_versions(engine) == []
    await library.remove_alternate_source(engine, "near")
    with pytest.raises(AlternateSourceNotFoundError):
        await library.alternate_source(engine, "near")


@pytest.mark.usefixtures("two_versions")
async def test_status_says_where_everything_is(engine: Engine) -> None:
    found = await library.status(engine)

    assert found.home == str(engine.home)
    assert found.store == str(engine.home / "store")
    assert (found.blobs, found.blob_bytes, found.never_verified) == (4, 6, 0)
    assert found.database_bytes > 0
    assert [(latest.repository, latest.number) for latest in found.latest] == [("files", 2)]


@pytest.mark.usefixtures("two_versions")
async def test_upkeep_and_export_are_of_the_same_room(engine: Engine, tmp_path: Path) -> None:
    exported, _ = await library.export_version(engine, "files", tmp_path / "out")
    verified = await library.verify(engine)
    reclaimed = await library.reclaim(engine, "files", keep_latest=1)
    removed = await library.remove_repository(engine, "files", apply=True)
    pruned = await library.prune(engine, older_than=timedelta(0), apply=True)

    assert exported.number == 2
    assert (verified.checked, verified.remaining) == (4, 0)
    assert reclaimed.artifacts == 2
    assert removed.versions == 2
    assert pruned.contents == 4


READS: list[Callable[[Engine], Coroutine[Any, Any, Any]]] = [
    library.latest_versions,
    library.status,
    library.runs,
    lambda engine: library.roll_back(engine, "files", 1),
    lambda engine: library.promote(engine, "files", "stable"),
    lambda engine: library.delete_version(engine, "files", 1),
    lambda engine: collected(library.entries(engine, "files")),
    lambda engine: collected(library.left_out(engine, 1)),
]


@pytest.mark.parametrize("work", READS)
async def test_an_engine_that_is_not_open_is_an_error_that_says_so(
    conninfo: str, tmp_path: Path, work: Callable[[Engine], Coroutine[Any, Any, Any]]
) -> None:
    """It was an `AttributeError`."""
    engine = Engine(tmp_path / "home", database_url=conninfo)

    with pytest.raises(EngineClosedError, match="is not open"):
        await work(engine)
    async with engine:
        pass
    with pytest.raises(EngineClosedError, match="was closed"):
        await work(engine)


async def test_closing_the_engine_ends_what_waits(
    conninfo: str, tmp_path: Path, publish: Publish, file_sync: Sync
) -> None:
    """A deletion waits for the repository; it ends, and the version is still there."""
    async with Engine(tmp_path / "home", database_url=conninfo) as engine:
        await file_sync(publish({"a": b"1"}), engine=engine).acreate()
        await file_sync(publish({"b": b"2"}), engine=engine).acreate()
        async with Engine(tmp_path / "home", database_url=conninfo) as other:
            async with engine.new_version(Repository(name="files")):
                deleting = asyncio.create_task(library.delete_version(other, "files", 1))
                await lock_waiters(other.catalog.database, 1)
                await other.close()

                with pytest.raises(EngineClosedError, match="was closed"):
                    await deleting
        assert [version.number for version in await library.versions(engine, "files")] == [0, 1, 2]
