"""A sync that would change nothing is skipped: what the last one must have seen and done
for that.
"""

import asyncio

import pytest

from flowsync import Engine
from flowsync.errors import DigestMismatchError
from tests.integration.catalog.waiting import lock_waiters
from tests.integration.sync.conftest import Publish, Sync
from tests.upstream.behaviours import Change
from tests.upstream.server import Upstream

FILES = {"a.txt": b"one", "sub/b.txt": b"two", "with, comma.txt": b"three", "empty": b""}

_STAND_STILL = 1
"""Key of an advisory lock: while a test has it, nothing can be remembered."""

_REMEMBERING_STANDS_STILL = f"""
    CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock({_STAND_STILL}); RETURN NEW; END $$;
    CREATE TRIGGER stand_still BEFORE UPDATE OF last_sync ON repository
        FOR EACH ROW EXECUTE FUNCTION stand_still();
"""


async def test_unchanged_upstream_costs_one_conditional_request(
    upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish(FILES)
    await file_sync(url).acreate()
    before = upstream.count()

    sync = file_sync(url)
    version = await sync.acreate()

    assert version is None
    assert sync.result is not None
    assert sync.result.skipped
    assert upstream.count() == before + 1
    assert upstream.requests("/PULP_MANIFEST")[-1].sent == 0


async def test_a_manifest_without_validators_is_recognised_by_its_digest(
    upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    publish(FILES)
    manifest = "a.txt,7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed,3"
    url = upstream.put("/PULP_MANIFEST", manifest.encode(), etag=None, last_modified=None)
    await file_sync(url).acreate()

    sync = file_sync(url)
    await sync.acreate()

    assert sync.result is not None
    assert sync.result.skipped


@pytest.mark.parametrize(
    ("first", "second", "skipped"),
    [
        ({"mirror": False}, {"mirror": True}, False),
        ({"mirror": True}, {"mirror": False}, True),
        ({"remote": {"policy": "on_demand"}}, {}, False),
        ({}, {"remote": {"policy": "on_demand"}}, True),
        ({}, {"force": True}, False),
    ],
)
async def test_a_sync_is_skipped_only_when_the_last_one_did_as_much(
    first: dict[str, object],
    second: dict[str, object],
    skipped: bool,
    publish: Publish,
    file_sync: Sync,
) -> None:
    url = publish(FILES)
    await file_sync(url, **first).acreate()

    sync = file_sync(url, **second)
    await sync.acreate()

    assert sync.result is not None
    assert sync.result.skipped is skipped


async def test_a_changed_version_is_reason_enough_to_sync_again(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """The latest version's number changed."""
    url = publish(FILES)
    first = file_sync(url)
    await first.acreate()
    async with engine.new_version(first.repository) as version:
        await version.set_content([])

    sync = file_sync(url)
    await sync.acreate()

    assert sync.result is not None
    assert not sync.result.skipped
    assert sync.result.added == 4


async def test_a_failed_sync_is_not_remembered_as_one_that_saw_upstream(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish({"a": b"good", "b": b"fine"})
    upstream.script("/b", Change(b"evil"))
    with pytest.raises(DigestMismatchError) as caught:
        await file_sync(url).acreate()
    upstream.put("/b", b"fine")

    version = await file_sync(url).acreate()

    assert upstream.url("/b") in str(caught.value)
    assert version is not None
    assert (version.number, version.present) == (1, 2)


@pytest.mark.parametrize("changes", [True, False])
async def test_who_waited_for_a_sync_is_skipped_and_does_not_do_all_of_it_again(
    changes: bool, engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """It was seen as a second sync that came to nothing new, in full, because the first one wrote
    down what it saw after the lock was free.
    """
    url = publish(FILES)
    if not changes:
        await file_sync(url).acreate()
    first, second = file_sync(url, mirror=True), file_sync(url, mirror=True)
    database = engine.catalog.repositories._database

    async with database.connection() as gate:
        await gate.execute(_REMEMBERING_STANDS_STILL.encode())
        await gate.execute("SELECT pg_advisory_lock(%s)", [_STAND_STILL])
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(first.acreate())
            await lock_waiters(database, 1)
            tasks.create_task(second.acreate())
            await lock_waiters(database, 2)
            await gate.execute("SELECT pg_advisory_unlock_all()")

    assert first.result is not None
    assert (first.result.added, first.result.skipped) == (4 if changes else 0, False)
    assert second.result is not None
    assert second.result.skipped
