"""A database that was restored from an older backup than its store: numbers come again, with other
content, and blobs that were pruned since are missing. Nothing wrong is served or exported, and
what upstream still has comes back.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowsync import (
    ContentServer,
    DeclarativeVersion,
    Engine,
    Remote,
    Repository,
    export_version,
    library,
    prune,
    verify,
)
from flowsync.errors import BlobMissingError
from flowsync.sources.file import SOURCE, FileFirstStage
from tests.integration.serve.conftest import Client
from tests.integration.sync.conftest import Publish, paths
from tests.integration.sync.conftest import publish as publish
from tests.postgres import temporary_database
from tests.upstream.behaviours import Status
from tests.upstream.server import Upstream

NOW = timedelta(0)
OLD = {"a": b"a of the backup", "kept": b"the same all along"}
NEW = {"b": b"b, newer than the backup", "kept": b"the same all along"}
OTHER = {"c": b"c, after the restore", "kept": b"the same all along"}

Opened = Callable[[str], AbstractAsyncContextManager[Engine]]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Open the one home with a database."""

    @asynccontextmanager
    async def open_engine(conninfo: str) -> AsyncIterator[Engine]:
        async with Engine(tmp_path / "home", database_url=conninfo, hash_workers=1) as engine:
            yield engine

    return open_engine


async def sync(engine: Engine, url: str) -> int | None:
    stage = FileFirstStage(Remote(name="files", url=url, max_retries=0))
    version = await DeclarativeVersion(
        stage, Repository(name="files"), mirror=True, engine=engine, max_removal=1.0
    ).acreate()
    return None if version is None else version.number


@pytest.fixture
async def restored(
    postgres: str, conninfo: str, opened: Opened, publish: Publish
) -> AsyncIterator[str]:
    """Give the database as it was with version 1, after a store has gone on: version 2 came,
    version 1 was deleted and its bytes pruned.
    """
    name = conninfo_to_dict(conninfo)["dbname"]
    assert isinstance(name, str)
    async with opened(conninfo) as engine:
        assert await sync(engine, publish(OLD)) == 1
    with temporary_database(postgres, name) as backup:
        async with opened(conninfo) as engine:
            assert await sync(engine, publish(NEW)) == 2
            await library.delete_version(engine, "files", 1)
            await prune(engine, older_than=NOW, apply=True)
        yield make_conninfo(postgres, dbname=backup)


async def test_a_version_whose_blobs_were_pruned_since_is_told_of_and_repaired(
    restored: str, opened: Opened, tmp_path: Path
) -> None:
    """Upstream still has the file."""
    async with opened(restored) as engine:
        with pytest.raises(BlobMissingError):
            await export_version(engine, "files", tmp_path / "out", 1)
        assert not (tmp_path / "out").exists()

        looked = await verify(engine)
        assert (looked.checked, looked.missing, looked.remaining) == (2, 1, 1)
        assert [finding.relative_path for finding in looked.findings] == ["a"]

        repaired = await verify(engine, repair=True)
        assert (repaired.missing, repaired.repaired, repaired.remaining) == (1, 1, 0)
        await export_version(engine, "files", tmp_path / "out", 1)
        assert (tmp_path / "out" / "a").read_bytes() == OLD["a"]


async def test_what_upstream_lacks_too_stays_missing_and_nothing_else_does(
    restored: str, opened: Opened, upstream: Upstream
) -> None:
    upstream.always("/a", Status(404))
    async with opened(restored) as engine, ContentServer(engine, kinds=[SOURCE]) as server:
        client = Client(server.addresses[0][1])

        kept = await client.get("/files@1/kept")
        gone = await client.get("/files@1/a")
        report = await verify(engine, repair=True)

        assert (kept.status, kept.body) == (200, OLD["kept"])
        assert gone.status >= 400
        assert OLD["a"] not in gone.body
        assert (report.missing, report.repaired, report.remaining) == (1, 0, 1)


async def test_a_missing_blob_is_served_right_from_upstream(restored: str, opened: Opened) -> None:
    async with opened(restored) as engine, ContentServer(engine, kinds=[SOURCE]) as server:
        reply = await Client(server.addresses[0][1]).get("/files@1/a")

        assert (reply.status, reply.body) == (200, OLD["a"])


async def test_a_number_comes_again_and_no_cache_takes_its_content_for_the_old_one(
    conninfo: str, restored: str, opened: Opened, publish: Publish
) -> None:
    async with opened(conninfo) as engine, ContentServer(engine, kinds=[SOURCE]) as server:
        client = Client(server.addresses[0][1])
        before = {path: await client.get(f"/files@2/{path}") for path in ("", "b", "PULP_MANIFEST")}
        root = (await library.version(engine, "files", 2)).root

    async with opened(restored) as engine, ContentServer(engine, kinds=[SOURCE]) as server:
        client = Client(server.addresses[0][1])
        assert await sync(engine, publish(OTHER | {"b": b"another b"})) == 2

        for path, old in before.items():
            assert old.status == 200
            # It may be kept, but is asked for each time.
            assert "immutable" not in old.headers.get("cache-control", "")
            known = {
                name: old.headers["etag"] for name in ["If-None-Match"] if "etag" in old.headers
            }
            new = await client.get(f"/files@2/{path}", known)
            assert (new.status, new.body == old.body) == (200, False)
        assert (await library.version(engine, "files", 2)).root != root


async def test_blobs_that_are_newer_than_the_backup_are_found_again_or_pruned(
    restored: str, opened: Opened, publish: Publish
) -> None:
    async with opened(restored) as engine:
        unrecorded = await prune(engine, older_than=NOW)
        assert unrecorded.blobs == 1

        assert await sync(engine, publish(NEW)) == 2
        assert await paths(engine) == {"b": True, "kept": True}
        assert (await prune(engine, older_than=NOW)).blobs == 0
        assert (await verify(engine, repair=True)).remaining == 0


async def test_a_sync_after_the_restore_is_not_taken_for_one_that_was_done(
    restored: str, opened: Opened, publish: Publish
) -> None:
    """What is remembered of upstream is that of the backup."""
    async with opened(restored) as engine:
        assert await sync(engine, publish(NEW)) == 2
        assert await sync(engine, publish(OLD)) == 3
        await verify(engine, repair=True)
        assert await paths(engine) == {"a": True, "kept": True}
