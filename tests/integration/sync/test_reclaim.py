"""Reclaiming: which bytes go, which stay, and how they come back."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from flowsync import Engine, Repository, export_version, prune, reclaim, verify
from flowsync.catalog.records.contents import Link
from flowsync.errors import RepositoryNotFoundError, VersionNotFoundError
from flowsync.library import ReclaimReport
from flowsync.model.content import key_id
from flowsync.sources.file import FileContent
from tests.integration.catalog.units import staged
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.behaviours import Hold
from tests.upstream.server import Upstream

FIRST = {"a": b"a of one", "b": b"b of both", "gone": b"only in one"}
SECOND = {"a": b"a of two", "b": b"b of both"}


@pytest.fixture
async def synced(publish: Publish, file_sync: Sync) -> str:
    """Mirror two versions; return the URL of the second."""
    await file_sync(publish(FIRST), mirror=True).acreate()
    url = publish(SECOND)
    await file_sync(url, mirror=True).acreate()
    return url


def figures(report: ReclaimReport) -> tuple[int, int, int, int, int]:
    return report.artifacts, report.bytes, report.shared, report.busy, report.refused


def blobs(engine: Engine) -> int:
    return len(list((engine.home / "store" / "blake3").glob("*/*")))


async def test_dry_run_says_what_would_go_and_changes_nothing(engine: Engine, synced: str) -> None:
    report = await reclaim(engine, "files")

    assert not report.applied
    assert report.versions == (0, 1, 2)
    assert figures(report) == (4, 36, 0, 0, 0)
    assert blobs(engine) == 4
    assert await paths(engine) == {"a": True, "b": True}


async def test_everything_of_a_repository_goes_and_its_versions_stay(
    engine: Engine, synced: str
) -> None:
    report = await reclaim(engine, "files", apply=True)

    assert figures(report) == (4, 36, 0, 0, 0)
    assert blobs(engine) == 0
    assert await paths(engine, number=1) == dict.fromkeys(FIRST, False)
    assert await paths(engine, number=2) == dict.fromkeys(SECOND, False)
    assert figures(await reclaim(engine, "files", apply=True)) == (0, 0, 0, 0, 0)


async def test_sync_fetches_again_what_was_reclaimed(
    engine: Engine, upstream: Upstream, synced: str, file_sync: Sync
) -> None:
    """Reclaim, then sync downloads again; no version is made of it."""
    await reclaim(engine, "files", apply=True)

    sync = file_sync(synced, mirror=True)
    version = await sync.acreate()

    assert version is None
    assert sync.result is not None
    assert (sync.result.downloaded, sync.result.skipped) == (2, False)
    assert await paths(engine) == dict.fromkeys(SECOND, True)
    assert await paths(engine, number=1) == {"a": False, "b": True, "gone": False}
    assert (await verify(engine)).remaining == 0


async def test_latest_versions_can_be_kept(engine: Engine, synced: str) -> None:
    report = await reclaim(engine, "files", keep_latest=1, apply=True)

    assert report.versions == (0, 1)
    assert figures(report) == (2, 19, 2, 0, 0)
    assert await paths(engine, number=1) == {"a": False, "b": True, "gone": False}
    assert await paths(engine, number=2) == dict.fromkeys(SECOND, True)


async def test_versions_can_be_named(engine: Engine, synced: str) -> None:
    report = await reclaim(engine, "files", [2], apply=True)

    assert figures(report) == (1, 8, 3, 0, 0)
    assert await paths(engine, number=1) == dict.fromkeys(FIRST, True)
    assert await paths(engine, number=2) == {"a": False, "b": True}


async def test_what_another_repository_has_stays(
    engine: Engine, synced: str, publish: Publish, file_sync: Sync
) -> None:
    """Once as the same unit, and once as another unit with the same bytes."""
    await file_sync(publish({"b": b"b of both", "copy": b"a of two"}), name="other").acreate()

    report = await reclaim(engine, "files", apply=True)

    assert figures(report) == (2, 19, 2, 0, 0)
    assert await paths(engine, "other") == {"b": True, "copy": True}


async def test_what_has_no_source_is_refused_and_listed(engine: Engine, synced: str) -> None:
    body = staged(b"uploaded")
    async with engine.store.storing():
        await engine.store.persist([body])
        [stored] = await engine.catalog.artifacts.save([body])
    unit = FileContent(relative_path="mine", sha256=str(body.sha256))
    async with engine.catalog.contents.transaction() as transaction:
        await transaction.insert({key_id(unit): unit})
        link = Link(content_id=key_id(unit), relative_path="mine", artifact_id=stored.id)
        await transaction.link([link])
    async with engine.new_version(Repository(name="files")) as version:
        await version.add_content([unit])

    report = await reclaim(engine, "files", apply=True)

    assert figures(report) == (4, 36, 0, 0, 1)
    assert report.refused_paths == ("mine",)
    assert await paths(engine) == {"a": False, "b": False, "mine": True}


async def test_what_a_running_sync_may_be_using_stays(
    engine: Engine, upstream: Upstream, synced: str, publish: Publish, file_sync: Sync
) -> None:
    url = publish({**SECOND, "slow": b"slow"})
    upstream.script("/slow", Hold())

    async def run() -> None:
        await file_sync(url, name="other").acreate()

    syncing = asyncio.create_task(run())
    await asyncio.to_thread(upstream.wait_for, 1, "/slow")
    report = await reclaim(engine, "files", apply=True)
    upstream.release()
    await syncing

    assert report.artifacts == 0
    assert report.busy == 4
    assert await paths(engine, "other") == {"a": True, "b": True, "slow": True}


async def test_link_of_a_unit_in_no_version_keeps_its_bytes_until_it_is_pruned(
    engine: Engine, synced: str, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"copy": b"a of two"}), name="other").acreate()
    async with engine.catalog.database.connection() as connection:
        await connection.execute("DELETE FROM repository WHERE name = 'other'")

    before = await reclaim(engine, "files", [2])
    await prune(engine, older_than=timedelta(0), apply=True)
    after = await reclaim(engine, "files", [2])

    assert (before.artifacts, after.artifacts) == (0, 1)


async def test_unknown_repository_or_version_is_an_error(engine: Engine, synced: str) -> None:
    with pytest.raises(RepositoryNotFoundError):
        await reclaim(engine, "nobody")
    with pytest.raises(VersionNotFoundError):
        await reclaim(engine, "files", [1, 9])


async def test_exports_keep_what_they_link_to(engine: Engine, synced: str, tmp_path: Path) -> None:
    await export_version(engine, "files", tmp_path / "out")
    await reclaim(engine, "files", apply=True)

    assert (tmp_path / "out" / "a").read_bytes() == b"a of two"


@pytest.mark.parametrize("keep_latest", [5, 10**20])
async def test_more_versions_to_keep_than_there_are_keep_all(
    engine: Engine, synced: str, keep_latest: int
) -> None:
    """Counted from the end, five of three would have named some."""
    report = await reclaim(engine, "files", keep_latest=keep_latest, apply=True)

    assert (report.versions, report.artifacts) == ((), 0)
