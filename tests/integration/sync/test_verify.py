"""Verification and repair of stored bytes."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import blake3
import pytest

from flowsync import Engine, Event, Remote, SyncProgressed, export_version, verify
from flowsync.errors import BlobMissingError, RepositoryNotFoundError, SettingsError
from flowsync.library import VerifyReport
from flowsync.testing.bodies import read
from tests.integration.catalog.units import staged
from tests.integration.sync import damage
from tests.integration.sync.conftest import Publish, Sync
from tests.system.publishing import numbered
from tests.system.publishing import publish as publish_below
from tests.upstream.behaviours import Corrupt, Status
from tests.upstream.server import Upstream

FILES = {"a.txt": b"first file", "b.txt": b"second file", "sub/c.txt": b"third file"}
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
KINDS = [
    damage.flip,
    damage.truncate,
    damage.grow,
    damage.make_unreadable,
    damage.loop,
    damage.remove,
]


def blob(engine: Engine, body: bytes) -> Path:
    return Path(str(engine.store.local(blake3.blake3(body).hexdigest())))


def counts(report: VerifyReport) -> tuple[int, int, int, int]:
    return report.checked, report.missing, report.damaged, report.repaired


def quarantined(engine: Engine) -> list[str]:
    folder = engine.home / "store" / "quarantine"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def whole(engine: Engine) -> bool:
    """Say whether every recorded artifact has its bytes."""
    async with engine.catalog.database.connection() as connection:
        rows = await (await connection.execute("SELECT blake3, size FROM artifact")).fetchall()
    return all(
        blake3.blake3(body := Path(str(engine.store.local(name.hex()))).read_bytes()).digest()
        == name
        and len(body) == size
        for name, size in rows
    )


async def test_store_without_damage_is_reported_as_such(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    asked = upstream.count()

    report = await verify(engine, repair=True)

    assert counts(report) == (3, 0, 0, 0)
    assert report.bytes == 31
    assert (report.repository, report.findings, report.remaining) == (None, (), 0)
    assert upstream.count() == asked


async def test_missing_and_damaged_blobs_are_reported_and_repaired_and_the_next_run_reports_nothing(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    damage.remove(blob(engine, b"first file"))
    damage.flip(blob(engine, b"second file"))

    first = await verify(engine, repair=True)
    second = await verify(engine, repair=True)

    assert counts(first) == (3, 1, 1, 2)
    assert sorted((each.relative_path, each.repaired) for each in first.findings) == [
        ("a.txt", True),
        ("b.txt", True),
    ]
    assert counts(second) == (3, 0, 0, 0)
    assert [upstream.count(f"/{path}") for path in FILES] == [2, 2, 1]
    assert await whole(engine)
    assert quarantined(engine) == []


async def test_quick_run_sees_what_is_missing_or_has_another_size_only(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """Without checksums only the missing one is handled; and, beyond it, what the size
    gives away.
    """
    await file_sync(publish(FILES)).acreate()
    damage.remove(blob(engine, b"first file"))
    damage.flip(blob(engine, b"second file"))
    damage.truncate(blob(engine, b"third file"))

    quick = await verify(engine, quick=True, repair=True)
    thorough = await verify(engine)

    assert counts(quick) == (3, 1, 1, 2)
    assert counts(thorough) == (3, 0, 1, 0)
    assert thorough.findings[0].relative_path == "b.txt"


@pytest.mark.parametrize("harm", KINDS)
async def test_every_kind_of_damage_is_found_kept_from_readers_and_healed(
    engine: Engine,
    publish: Publish,
    file_sync: Sync,
    tmp_path: Path,
    harm: Callable[[Path], None],
) -> None:
    await file_sync(publish(FILES)).acreate()
    harm(blob(engine, b"second file"))

    found = await verify(engine)
    with pytest.raises(BlobMissingError):
        await read(engine.store, blob(engine, b"second file").name)
    with pytest.raises(BlobMissingError):
        await export_version(engine, "files", tmp_path / "out")
    again = await verify(engine)
    healed = await verify(engine, repair=True)

    assert found.missing + found.damaged == 1
    assert quarantined(engine) == []
    assert (again.missing, again.remaining) == (1, 1)
    assert (healed.missing, healed.repaired) == (1, 1)
    await export_version(engine, "files", tmp_path / "out")
    assert (tmp_path / "out" / "b.txt").read_bytes() == b"second file"


async def test_damaged_blob_is_kept_aside_until_it_is_whole_again(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    name = blob(engine, b"second file").name
    damage.grow(blob(engine, b"second file"))

    await verify(engine)
    kept = quarantined(engine)
    body = (engine.home / "store" / "quarantine" / name).read_bytes()
    await verify(engine, repair=True)

    assert (kept, body) == ([name], b"second file\0")
    assert quarantined(engine) == []


@pytest.mark.parametrize("harm", KINDS)
async def test_right_bytes_in_quarantine_go_back_to_their_name(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    harm: Callable[[Path], None],
) -> None:
    """They were taken for damaged; upstream has them no more, and something else may stand under
    the name by now.
    """
    await file_sync(publish(FILES)).acreate()
    place = blob(engine, b"second file")
    right = place.read_bytes()
    harm(place)
    aside = engine.home / "store" / "quarantine" / place.name
    aside.parent.mkdir()
    aside.write_bytes(right)
    upstream.always("/b.txt", Status(404))

    found = await verify(engine)
    again = await verify(engine)

    assert (found.missing + found.damaged + found.unreadable, found.repaired) == (1, 1)
    assert (found.findings[0].repaired, found.remaining) == (True, 0)
    assert counts(again) == (3, 0, 0, 0)
    assert quarantined(engine) == []
    assert await whole(engine)


async def test_wrong_bytes_in_quarantine_stay_there(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    damage.flip(blob(engine, b"second file"))
    await verify(engine)

    report = await verify(engine)

    assert (report.missing, report.repaired) == (1, 0)
    assert quarantined(engine) == [blob(engine, b"second file").name]


async def test_shelf_that_cannot_be_looked_into_stops_nothing(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """A file has its name. Nothing is known of the blobs, so nothing of them is moved."""
    await file_sync(publish(FILES)).acreate()
    damage.flip(blob(engine, b"first file"))
    shelf = blob(engine, b"second file").parent
    shelf.rename(engine.home / "shelf")
    shelf.touch()

    report = await verify(engine, repair=True)
    shelf.unlink()
    (engine.home / "shelf").rename(shelf)
    again = await verify(engine)

    assert (report.checked, report.missing, report.damaged, report.unreadable) == (3, 0, 1, 1)
    assert report.repaired == 1
    finding = next(each for each in report.findings if each.kind == "unreadable")
    assert "the blob cannot be looked at: Not a directory" in finding.problem
    assert "Not a directory" in (finding.reason or "")
    assert counts(again) == (3, 0, 0, 0)


async def test_large_store_with_every_kind_of_damage_is_healed_in_one_run(
    engine: Engine, upstream: Upstream, file_sync: Sync
) -> None:
    """At size: exactly what was damaged is fetched again."""
    files = numbered(2000)
    await file_sync(publish_below(upstream, files)).acreate()
    harmed = {}
    for number, (path, body) in enumerate(list(files.items())[::150]):
        harmed[path] = body
        KINDS[number % len(KINDS)](blob(engine, body))

    first = await verify(engine, repair=True)
    second = await verify(engine, repair=True)

    assert first.checked == second.checked == 2000
    assert (first.missing, first.damaged, first.repaired) == (2, 12, 14)
    assert counts(second)[1:] == (0, 0, 0)
    fetched = Counter(seen.target.removeprefix("/") for seen in upstream.requests())
    assert {path: count for path, count in fetched.items() if count > 1} == dict.fromkeys(harmed, 2)
    assert await whole(engine)


async def test_whole_shelf_that_vanished_is_healed(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    damage.remove_shelf(blob(engine, b"first file"))

    report = await verify(engine, repair=True)

    assert report.repaired >= 1
    assert report.remaining == 0
    assert await whole(engine)


async def test_what_no_source_has_any_more_stays_reported_with_the_reason(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    [upload] = await engine.catalog.artifacts.save([staged(b"uploaded")])
    damage.remove(blob(engine, b"first file"))
    damage.remove(blob(engine, b"second file"))
    upstream.always("/a.txt", Status(404))
    upstream.always("/b.txt", Corrupt())

    for _ in range(2):
        report = await verify(engine, repair=True, find_remote=_patient)

        reasons = {each.relative_path: each.reason or "" for each in report.findings}
        assert (report.remaining, report.repaired) == (3, 0)
        assert "404" in reasons["a.txt"]
        assert "sha256 is" in reasons["b.txt"]
        assert reasons[None] == "no source of it is known"
        assert {each.sha256 for each in report.findings} >= {upload.sha256}


def _patient(name: str) -> Remote:
    return Remote(name=name, url="http://localhost/", max_retries=0)


async def test_same_bytes_at_another_remote_are_a_source_too(
    engine: Engine, upstream: Upstream, file_sync: Sync
) -> None:
    """Every recorded source is tried: here that of another path, of another repository, for the
    same digest.
    """
    await file_sync(publish_below(upstream, {"a": b"the same bytes"}, "/one")).acreate()
    two = publish_below(upstream, {"copy": b"the same bytes"}, "/two")
    await file_sync(two, name="two", remote={"policy": "on_demand"}).acreate()
    damage.flip(blob(engine, b"the same bytes"))
    upstream.always("/one/a", Status(410))

    report = await verify(engine, "files", repair=True, find_remote=_patient)

    assert (report.damaged, report.repaired) == (1, 1)
    assert upstream.count("/two/copy") == 1


async def test_remote_is_asked_with_the_credentials_that_the_caller_gives(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish(FILES)
    await file_sync(url).acreate()
    damage.remove(blob(engine, b"first file"))

    def find(name: str) -> Remote:
        return Remote(name=name, url=url, username="mirror", password="secret")

    await verify(engine, repair=True, find_remote=find)

    assert upstream.requests("/a.txt")[-1].headers["authorization"] == "Basic bWlycm9yOnNlY3JldA=="
    assert "authorization" not in upstream.requests("/a.txt")[0].headers


async def test_remote_whose_settings_are_incomplete_is_a_reason_and_no_failure(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    damage.remove(blob(engine, b"first file"))

    def find(name: str) -> Remote:
        raise SettingsError("the environment variable PASSWORD is not set")

    report = await verify(engine, repair=True, find_remote=find)

    assert report.remaining == 1
    assert "PASSWORD is not set" in (report.findings[0].reason or "")


async def test_verification_of_one_repository_looks_at_all_its_versions_and_at_no_other(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    """Two repositories share content, and each has its own."""
    await file_sync(publish({"a": b"old", "shared": b"shared"}), mirror=True).acreate()
    await file_sync(publish({"a": b"new", "shared": b"shared"}), mirror=True).acreate()
    other = publish_below(upstream, {"x": b"x", "y": b"shared"}, "/other")
    await file_sync(other, name="other").acreate()
    damage.flip(blob(engine, b"old"))
    damage.flip(blob(engine, b"x"))

    mine = await verify(engine, "files")
    others = await verify(engine, "other")

    assert counts(mine) == (3, 0, 1, 0)
    assert [each.relative_path for each in mine.findings] == ["a"]
    assert counts(others) == (2, 0, 1, 0)
    assert [(each.repository, each.relative_path) for each in others.findings] == [("other", "x")]


async def test_unknown_repository_is_an_error(engine: Engine) -> None:
    with pytest.raises(RepositoryNotFoundError):
        await verify(engine, "nobody")


async def test_bytes_that_come_again_restore_a_blob_that_vanished(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    damage.remove(blob(engine, b"first file"))

    await engine.store.persist([staged(b"first file")])

    assert counts(await verify(engine)) == (3, 0, 0, 0)


async def test_sync_alone_does_not_notice_a_blob_that_vanished(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """It asks the catalog, which has the record; this is why there is a verification."""
    url = publish(FILES)
    await file_sync(url).acreate()
    damage.remove(blob(engine, b"first file"))

    await file_sync(url, force=True).acreate()

    assert (await verify(engine)).missing == 1


async def test_interrupted_verification_is_continued_by_the_next(
    engine: Engine, upstream: Upstream, file_sync: Sync
) -> None:
    """What was verified longest ago comes first. The pace is slow enough to be interrupted in the
    middle.
    """
    await file_sync(publish_below(upstream, numbered(600))).acreate()
    await _set_verified(engine, None)
    seen = asyncio.Event()

    def watch(event: Event) -> None:
        if isinstance(event, SyncProgressed) and any(each.done >= 300 for each in event.readings):
            seen.set()

    first = asyncio.create_task(verify(engine, limit=60_000, observers=[watch]))
    await seen.wait()
    # No event of the product's tells that a window of blobs is noted.
    while (await engine.catalog.verification.oldest())[1] == 600:
        pass
    first.cancel()
    await asyncio.wait([first])
    _, left = await engine.catalog.verification.oldest()
    async with engine.catalog.verification.plan() as plan:
        window = await anext(plan.windows())
        next_ones = {artifact.id for artifact in window}
    verified = await _verified(engine)

    assert first.cancelled()
    assert 0 < left < 600
    assert len(verified) == 600 - left
    assert len(next_ones & verified) == max(0, 256 - left)
    assert counts(await verify(engine)) == (600, 0, 0, 0)
    assert (await engine.catalog.verification.oldest())[1] == 0


async def test_status_knows_the_oldest_verification(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """Storing counts as verifying; a quick look does not."""
    await file_sync(publish(FILES)).acreate()
    stored, _ = await engine.catalog.verification.oldest()
    await _set_verified(engine, LONG_AGO)
    await verify(engine, quick=True)
    quick, _ = await engine.catalog.verification.oldest()
    await verify(engine)
    thorough, never = await engine.catalog.verification.oldest()

    assert stored is not None
    assert quick is not None
    assert thorough is not None
    assert quick.year == 2001
    assert thorough > stored
    assert never == 0


async def test_damaged_artifact_is_not_noted_as_verified(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    await _set_verified(engine, LONG_AGO)
    damage.flip(blob(engine, b"first file"))

    await verify(engine)
    damaged, _ = await engine.catalog.verification.oldest()
    await verify(engine, repair=True)
    repaired, _ = await engine.catalog.verification.oldest()

    assert damaged is not None
    assert repaired is not None
    assert (damaged.year, repaired.year > 2001) == (2001, True)


async def test_pace_is_kept_also_within_a_large_file(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """Ten megabytes at 20 MB/s take half a second, and the bytes are found right, or wrong."""
    body = bytes(range(256)) * 40_000
    await file_sync(publish({"large": body, "small": b"s"})).acreate()

    paced = await verify(engine, limit=20e6)
    damage.flip(blob(engine, body))
    damaged = await verify(engine, limit=1e9)

    assert paced.seconds >= 0.45
    assert counts(paced) == (2, 0, 0, 0)
    assert counts(damaged) == (2, 0, 1, 0)


async def test_progress_has_the_total_from_the_start(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    events: list[Event] = []

    await verify(engine, observers=[events.append])

    progress = [event for event in events if isinstance(event, SyncProgressed)]
    (last,) = progress[-1].readings
    assert {event.repository for event in progress} == {"store"}
    assert {reading.total for event in progress for reading in event.readings} == {3}
    assert (last.message, last.done, last.size, last.state) == (
        "Verifying Blobs",
        3,
        31,
        "completed",
    )


async def test_blob_that_a_sync_replaced_meanwhile_is_not_moved_away(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    """A saver is inside while the damage is confirmed, and puts the right bytes there."""
    await file_sync(publish(FILES)).acreate()
    damage.flip(blob(engine, b"first file"))
    async with engine.store.storing():
        verifying = asyncio.create_task(verify(engine))
        done, _ = await asyncio.wait([verifying], timeout=0.5)
        assert done == set()
        await engine.store.persist([staged(b"first file")])

    report = await verifying

    assert counts(report) == (3, 0, 0, 0)
    assert blob(engine, b"first file").read_bytes() == b"first file"


async def test_artifact_that_clean_up_removed_meanwhile_is_not_missing(
    engine: Engine,
) -> None:
    await engine.store.persist([staged(b"gone")])
    [stored] = await engine.catalog.artifacts.save([staged(b"gone")])
    damage.remove(blob(engine, b"gone"))
    async with engine.store.storing():
        verifying = asyncio.create_task(verify(engine))
        done, _ = await asyncio.wait([verifying], timeout=0.5)
        assert done == set()
        assert await engine.catalog.verification.recorded([stored.id]) == {stored.id}
        async with engine.catalog.database.connection() as connection:
            await connection.execute("DELETE FROM artifact")

    assert counts(await verifying) == (1, 0, 0, 0)


async def _set_verified(engine: Engine, when: datetime | None) -> None:
    async with engine.catalog.database.connection() as connection:
        await connection.execute("UPDATE artifact SET verified_at = %s", (when,))


async def _verified(engine: Engine) -> set[int]:
    async with engine.catalog.database.connection() as connection:
        query = "SELECT id FROM artifact WHERE verified_at IS NOT NULL"
        return {number for (number,) in await (await connection.execute(query)).fetchall()}
