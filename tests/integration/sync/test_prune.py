"""Clean-up: what goes, what stays, and why a sync never misses it."""

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path

from flowsync import Engine, Repository, prune
from flowsync.library import PruneReport
from flowsync.store.staging import staging_folder
from tests.integration.catalog.units import staged
from tests.integration.catalog.waiting import lock_waiters
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.behaviours import Hold
from tests.upstream.server import Upstream

NOW = timedelta(0)
FILES = {"a.txt": b"one", "b.txt": b"two", "sub/c.txt": b"three"}


def figures(report: PruneReport) -> dict[str, int]:
    """Return what a report counts, without zeros."""
    fields = {name: getattr(report, name) for name in report.__struct_fields__}
    return {
        name: value
        for name, value in fields.items()
        if name not in {"applied", "seconds"} and value
    }


async def forget(engine: Engine, name: str = "files") -> None:
    """Take the repository's versions out of the catalog, as nobody does who wants to keep its
    units.
    """
    async with engine.catalog.database.connection() as connection:
        await connection.execute("DELETE FROM repository WHERE name = %s", (name,))


async def age(engine: Engine, hours: float) -> None:
    """Let so much time have passed since anything was touched."""
    async with engine.catalog.database.connection() as connection:
        past = timedelta(hours=hours)
        await connection.execute("UPDATE content SET touched_at = now() - %s", (past,))
        await connection.execute("UPDATE artifact SET touched_at = now() - %s", (past,))


def blobs(engine: Engine) -> set[str]:
    return {path.name for path in (engine.home / "store" / "blake3").glob("*/*")}


async def recorded(engine: Engine) -> set[str]:
    async with engine.catalog.database.connection() as connection:
        rows = await (await connection.execute("SELECT blake3 FROM artifact")).fetchall()
    return {name.hex() for (name,) in rows}


async def test_dry_run_says_what_would_go_and_changes_nothing(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    await forget(engine)
    before = blobs(engine)

    report = await prune(engine, older_than=NOW)

    assert not report.applied
    assert figures(report) == {
        "contents": 3,
        "links": 3,
        "sources": 3,
        "artifacts": 3,
        "artifact_bytes": 11,
    }
    assert blobs(engine) == before == await recorded(engine)


async def test_what_the_dry_run_said_goes_and_then_nothing_is_left(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """Deleting the content removes it, its artifact and its link."""
    await file_sync(publish(FILES)).acreate()
    await forget(engine)
    said = await prune(engine, older_than=NOW)

    done = await prune(engine, older_than=NOW, apply=True)

    assert figures(done) == figures(said)
    assert blobs(engine) == set()
    assert figures(await prune(engine, older_than=NOW, apply=True)) == {}


async def test_what_any_version_has_stays(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """The first version needs what the latest no longer has, and the second repository what the
    first one shared.
    """
    url = publish(FILES)
    await file_sync(url, mirror=True).acreate()
    await file_sync(url, name="other").acreate()
    await file_sync(publish({"a.txt": b"one"}), mirror=True, max_removal=1.0).acreate()
    await forget(engine, "other")

    report = await prune(engine, older_than=NOW, apply=True)

    assert figures(report) == {}
    assert await paths(engine, number=1) == dict.fromkeys(FILES, True)


async def test_bytes_that_another_unit_has_stay(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a.txt": b"same", "only.txt": b"only"})).acreate()
    await file_sync(publish({"elsewhere.txt": b"same"}), name="other").acreate()
    await forget(engine)

    report = await prune(engine, older_than=NOW, apply=True)

    assert figures(report) == {
        "contents": 2,
        "links": 2,
        "sources": 2,
        "artifacts": 1,
        "artifact_bytes": 4,
    }
    assert await paths(engine, "other") == {"elsewhere.txt": True}


async def test_what_was_touched_within_the_protection_time_stays(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """Clean-up respects the protection time."""
    await file_sync(publish(FILES)).acreate()
    await forget(engine)
    await age(engine, hours=5)

    young = await prune(engine, older_than=timedelta(hours=6), apply=True)
    old = await prune(engine, older_than=timedelta(hours=4), apply=True)

    assert figures(young) == {}
    assert (old.contents, old.artifacts) == (3, 3)


async def test_it_can_be_limited_to_given_content(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """Clean-up can be limited to given content."""
    await file_sync(publish(FILES)).acreate()
    ids = [
        unit async for batch in engine.catalog.repositories.content_ids("files") for unit in batch
    ]
    await forget(engine)

    said = await prune(engine, older_than=NOW, only=ids[:1])
    done = await prune(engine, older_than=NOW, only=ids[:1], apply=True)

    assert (said.contents, said.artifacts) == (done.contents, done.artifacts) == (1, 1)
    assert len(await recorded(engine)) == 2
    assert await recorded(engine) == blobs(engine)


async def test_unit_that_a_table_of_its_type_refers_to_is_kept_and_the_others_go(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """Clean-up tolerates protected rows."""
    await file_sync(publish(FILES)).acreate()
    await forget(engine)
    async with engine.catalog.database.connection() as connection:
        await connection.execute("CREATE TABLE detail (content_id bytea REFERENCES content)")
        await connection.execute("INSERT INTO detail SELECT id FROM content ORDER BY id LIMIT 1")

    report = await prune(engine, older_than=NOW, apply=True)

    assert (report.contents, report.kept, report.artifacts) == (2, 1, 2)


async def test_blob_that_nobody_recorded_goes_once_it_is_old_enough(engine: Engine) -> None:
    """What a sync leaves that is killed between storing and recording, or a clean-up between the
    two removals.
    """
    folder = engine.home / "store" / "blake3" / "ab"
    folder.mkdir()
    (folder / ("ab" * 32)).write_bytes(b"left")
    (folder / "notes.txt").write_bytes(b"no blob")

    young = await prune(engine, older_than=timedelta(hours=1), apply=True)
    an_hour_ago = time.time() - 3601
    os.utime(folder / ("ab" * 32), (an_hour_ago, an_hour_ago))
    said = await prune(engine, older_than=timedelta(hours=1))
    done = await prune(engine, older_than=timedelta(hours=1), apply=True)

    assert figures(young) == {}
    assert figures(said) == figures(done) == {"blobs": 1, "blob_bytes": 4}
    assert os.listdir(folder) == ["notes.txt"]


async def test_staging_of_the_dead_goes_and_that_of_the_living_stays(engine: Engine) -> None:
    staging = engine.home / "store" / "staging"
    (staging / "dead").mkdir()
    (staging / "dead" / "body").write_bytes(b"12345")
    (staging / "dead.lock").touch()
    with staging_folder(str(staging)) as alive:
        said = await prune(engine)
        done = await prune(engine, apply=True)

        assert figures(said) == figures(done) == {"staging": 1, "staging_bytes": 5}
        assert Path(alive).exists()
        assert not (staging / "dead").exists()


async def test_what_an_unfinished_version_has_stays(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    ids = [
        unit async for batch in engine.catalog.repositories.content_ids("files") for unit in batch
    ]
    await forget(engine)
    await age(engine, hours=100)

    async with engine.new_version(Repository(name="kept")) as version:
        await version.add_content(ids)
        await prune(engine, older_than=NOW, apply=True)

    assert await paths(engine, "kept") == dict.fromkeys(FILES, True)


async def test_what_a_running_sync_has_found_stays_whatever_the_protection_time(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    """The sync has found units and bytes of an hour ago, and waits for a file before it associates
    them.
    """
    await file_sync(publish(FILES)).acreate()
    await forget(engine)
    await age(engine, hours=0.9)
    url = publish({**FILES, "slow.txt": b"slow"})
    upstream.script("/slow.txt", Hold())

    async def run() -> None:
        await file_sync(url, name="again").acreate()

    syncing = asyncio.create_task(run())
    await asyncio.to_thread(upstream.wait_for, 1, "/slow.txt")
    report = await prune(engine, older_than=NOW, apply=True)
    upstream.release()
    await syncing

    assert figures(report) == {}
    assert await paths(engine, "again") == dict.fromkeys([*FILES, "slow.txt"], True)
    assert upstream.count("/a.txt") == 1


async def test_what_is_older_than_the_running_syncs_goes_beside_them(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    await forget(engine)
    await age(engine, hours=2)
    url = publish({"slow.txt": b"slow"})
    upstream.script("/slow.txt", Hold())

    async def run() -> None:
        await file_sync(url, name="again").acreate()

    syncing = asyncio.create_task(run())
    await asyncio.to_thread(upstream.wait_for, 1, "/slow.txt")
    report = await prune(engine, older_than=NOW, apply=True)
    upstream.release()
    await syncing

    assert (report.contents, report.artifacts) == (3, 3)


async def test_version_that_nobody_makes_any_more_does_not_protect_for_ever(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """A killed sync leaves an incomplete version; what is in it stays, but other things go."""
    await file_sync(publish(FILES)).acreate()
    await forget(engine)
    await engine.catalog.repositories.ensure(Repository(name="killed"))
    async with engine.catalog.database.connection() as connection:
        await connection.execute(
            "INSERT INTO repository_version (repository_id, number, created_at) "
            "SELECT id, 1, '2001-01-01' FROM repository WHERE name = 'killed'"
        )

    report = await prune(engine, older_than=NOW, apply=True)

    assert report.contents == 3


async def test_sync_that_looks_for_what_is_just_being_removed_does_not_find_it(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """The look-up waits for whoever holds the row, and stores the unit anew."""
    url = publish({"a.txt": b"one"})
    await file_sync(url).acreate()
    await forget(engine)
    await age(engine, hours=100)
    database = engine.catalog.database

    async def run() -> None:
        await file_sync(url, name="again").acreate()

    async with database.transaction() as connection:
        await connection.execute("SELECT id FROM artifact FOR UPDATE")
        syncing = asyncio.create_task(run())
        await lock_waiters(database, 1)
        await connection.execute("DELETE FROM content")
        await connection.execute("DELETE FROM artifact")
    await syncing

    assert await paths(engine, "again") == {"a.txt": True}
    assert await recorded(engine) == blobs(engine)


async def test_blob_that_a_sync_finds_there_already_is_not_removed_before_it_is_recorded(
    engine: Engine,
) -> None:
    """The sync persists and records within `storing`; clean-up removes record and blob within
    `removing`, and waits.
    """
    artifact = staged(b"shared")
    await engine.store.persist([artifact])
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def save() -> None:
        async with engine.store.storing():
            await engine.store.persist([artifact])
            entered.set()
            await go_on.wait()
            await engine.catalog.artifacts.save([artifact])

    saving = asyncio.create_task(save())
    await entered.wait()
    pruning = asyncio.create_task(prune(engine, older_than=NOW, apply=True))
    done, _ = await asyncio.wait([pruning], timeout=0.3)
    assert done == set()
    go_on.set()
    await saving
    report = await pruning

    assert figures(report) == {}
    assert blobs(engine) == await recorded(engine) == {str(artifact.blake3)}
