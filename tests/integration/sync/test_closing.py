"""Closing an engine ends all that goes on in it, with an error that says so, and leaves nothing
behind; a sync has a deadline of its own.
"""

import asyncio
import os
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flowsync import (
    DeclarativeVersion,
    Engine,
    EngineClosedError,
    Remote,
    Repository,
    Stage,
    SyncTimeoutError,
)
from flowsync.errors import SettingsError
from tests.integration.catalog.waiting import lock_waiters
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.behaviours import Hang, Hold, Status
from tests.upstream.server import Upstream

CLOSINGS = int(os.environ.get("FLOWSYNC_CLOSINGS", "50"))
"""How many times an engine is closed under load, evenly over half a second."""

HANGS = 20
"""Seconds after which what should have ended is given up."""


async def outcome(work: Coroutine[Any, Any, Any]) -> BaseException | None:
    """Return the error that the work ends with."""
    try:
        async with asyncio.timeout(HANGS):
            await work
    except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
        return error
    return None


def open_files() -> list[str]:
    """Return what the descriptors of this process lead to."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return sorted(found)


async def sessions(engine: Engine) -> int:
    """Return how many sessions its server has for the database of the engine."""
    async with engine.catalog.database.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend'"
        )
        ((count,),) = await cursor.fetchall()
    return int(count)


def children() -> int:
    return len(Path("/proc/self/task", str(os.getpid()), "children").read_text().split())


async def test_closing_wakes_who_waits_for_a_slot_of_a_host(
    tmp_path: Path, conninfo: str, publish: Publish, upstream: Upstream, file_sync: Sync
) -> None:
    """They waited for ever."""
    url = publish({f"file-{number}": b"%d" % number for number in range(30)})
    for number in range(30):
        upstream.always(f"/file-{number}", Hang())
    engine = Engine(tmp_path / "one", database_url=conninfo)
    await engine.open()
    sync = file_sync(url, engine=engine, remote={"download_concurrency": 1})
    syncing = asyncio.create_task(outcome(sync.acreate()))
    await asyncio.to_thread(upstream.wait_for, 2)
    await engine.close()

    assert isinstance(await syncing, EngineClosedError)
    assert sync.result is not None
    assert "was closed" in str(sync.result.error)


async def test_closing_wakes_who_waits_for_a_turn_or_a_repository_or_the_next_try(
    tmp_path: Path, conninfo: str, publish: Publish, upstream: Upstream, file_sync: Sync
) -> None:
    """They ended with `CatalogError`, as if the database had failed, or not at all."""
    url = publish({"a": b"1"})
    slow, failing = upstream.put("/slow", b""), upstream.put("/failing", b"")
    upstream.always("/slow", Hang())
    upstream.always("/failing", Status(503, retry_after="200"))
    engine = Engine(tmp_path / "one", database_url=conninfo, syncs_at_once=3)
    await engine.open()
    works = [
        file_sync(slow, engine=engine, name="held"),
        file_sync(url, engine=engine, name="held"),
        file_sync(failing, engine=engine, name="again", remote={"max_retries": 3}),
        *(file_sync(url, engine=engine, name=f"later-{number}") for number in range(3)),
    ]
    tasks = [asyncio.create_task(outcome(work.acreate())) for work in works[:3]]
    await asyncio.to_thread(upstream.wait_for, 2)
    await lock_waiters(engine.catalog.database, 1)
    tasks += [asyncio.create_task(outcome(work.acreate())) for work in works[3:]]
    await asyncio.sleep(0)
    await engine.close()

    assert {type(await task) for task in tasks} == {EngineClosedError}


async def test_closing_ends_what_uses_the_database_or_upstream_by_itself(
    tmp_path: Path, conninfo: str, upstream: Upstream
) -> None:
    """What waited for a pooled connection was told that the database is unavailable."""
    url = upstream.put("/slow", b"")
    upstream.always("/slow", Hang())
    engine = Engine(tmp_path / "one", database_url=conninfo, max_connections=1)
    await engine.open()
    remote = engine.bind(Remote(name="r", url=url))
    holding = asyncio.Event()

    async def hold() -> None:
        async with engine.catalog.database.connection():
            holding.set()
            await asyncio.Event().wait()

    async def open_version() -> None:
        async with engine.new_version(Repository(name="mine")):
            await asyncio.Event().wait()

    # The one connection is held before anything asks for it that would soon be done with it.
    tasks = [asyncio.create_task(outcome(hold()))]
    await holding.wait()
    tasks += [
        asyncio.create_task(outcome(work))
        for work in (
            open_version(),
            engine.catalog.database.size(),
            remote.get_downloader(url).run(),
        )
    ]
    await asyncio.to_thread(upstream.wait_for, 1)
    await engine.close()

    assert {type(await task) for task in tasks} == {EngineClosedError}
    assert isinstance(await outcome(engine.catalog.database.size()), EngineClosedError)


async def test_a_sync_of_a_closed_engine_is_told_so(
    tmp_path: Path, conninfo: str, publish: Publish, file_sync: Sync
) -> None:
    url = publish({"a": b"1"})
    async with Engine(tmp_path / "one", database_url=conninfo) as engine:
        sync = file_sync(url, engine=engine)

    assert isinstance(await outcome(sync.acreate()), EngineClosedError)


async def test_a_drain_lets_syncs_finish_and_starts_no_others(
    tmp_path: Path, conninfo: str, publish: Publish, upstream: Upstream, file_sync: Sync
) -> None:
    url = publish({"a": b"1"})
    upstream.always("/a", Hold())
    engine = Engine(tmp_path / "one", database_url=conninfo, syncs_at_once=1)
    await engine.open()
    syncing = asyncio.create_task(file_sync(url, engine=engine).acreate())
    await asyncio.to_thread(upstream.wait_for, 1, "/a")
    waiting = asyncio.create_task(outcome(file_sync(url, engine=engine, name="next").acreate()))
    await asyncio.sleep(0)
    closing = asyncio.create_task(engine.close(drain=HANGS))
    refused = await waiting
    late = await outcome(file_sync(url, engine=engine, name="late").acreate())
    upstream.release()
    await closing
    version = await syncing

    assert isinstance(refused, EngineClosedError)
    assert isinstance(late, EngineClosedError)
    assert version is not None
    assert version.present == 1


async def test_a_drain_that_runs_out_ends_the_rest_and_nothing_half_done_is_visible(
    engine: Engine,
    tmp_path: Path,
    conninfo: str,
    publish: Publish,
    upstream: Upstream,
    file_sync: Sync,
) -> None:
    url = publish({"a": b"1", "b": b"2"})
    upstream.always("/b", Hang())
    async with Engine(tmp_path / "home", database_url=conninfo) as closing:
        syncing = asyncio.create_task(outcome(file_sync(url, engine=closing).acreate()))
        await asyncio.to_thread(upstream.wait_for, 1, "/b")
        await closing.close(drain=0.1)
        error = await syncing
    (run,) = await engine.catalog.runs.newest("files")

    assert isinstance(error, EngineClosedError)
    assert run.state == "failed"
    assert [found.number for found in await engine.catalog.repositories.versions("files")] == [0]


async def test_closing_goes_on_when_the_one_who_closes_is_cancelled(
    tmp_path: Path, conninfo: str, publish: Publish, upstream: Upstream, file_sync: Sync
) -> None:
    """A stage may close the engine that it runs in: the stage ends then, and must not keep the
    engine half open.
    """

    class Closes(Stage):
        async def run(self) -> None:
            await engine.close()

    engine = Engine(tmp_path / "one", database_url=conninfo)
    await engine.open()
    sync = DeclarativeVersion(Closes(), Repository(name="files"), engine=engine)
    error = await outcome(sync.acreate())
    await engine.close()

    assert isinstance(error, EngineClosedError)
    assert not engine.is_open


async def test_nothing_is_left_of_an_engine_that_is_closed_under_load(
    engine: Engine,
    tmp_path: Path,
    conninfo: str,
    publish: Publish,
    upstream: Upstream,
    file_sync: Sync,
) -> None:
    """Many times, at another moment each."""
    url = publish({f"file-{number}": b"%d" % number * 5000 for number in range(40)})
    slow = upstream.put("/slow", b"")
    upstream.always("/slow", Hang())

    async def once(number: int) -> set[type]:
        closing = Engine(tmp_path / "one", database_url=conninfo, syncs_at_once=2)
        await closing.open()
        tasks = [
            asyncio.create_task(
                outcome(file_sync(where, engine=closing, name=f"{name}-{number}").acreate())
            )
            for where, name in ((url, "one"), (slow, "two"), (url, "three"), (slow, "four"))
        ]
        await asyncio.sleep(number / CLOSINGS / 2)
        await closing.close(drain=0.01 * (number % 3))
        return {type(await task) for task in tasks}

    await once(CLOSINGS + 1)
    connected = await sessions(engine)
    tasks, files, processes = len(asyncio.all_tasks()), open_files(), children()
    found: set[type] = set()
    for number in range(CLOSINGS):
        found |= await once(number)
    async with asyncio.timeout(HANGS):
        while len(open_files()) > len(files):  # noqa: ASYNC110 - the upstream closes its ends in its own time
            await asyncio.sleep(0.01)
        while await sessions(engine) > connected:  # noqa: ASYNC110 - the server ends them in its own time
            await asyncio.sleep(0.01)

    assert found <= {EngineClosedError, type(None)}
    assert (len(asyncio.all_tasks()), children()) == (tasks, processes)
    assert len(os.listdir(tmp_path / "one/store/staging")) == 0


async def test_a_sync_that_takes_too_long_fails_and_says_how_far_it_was(
    engine: Engine, publish: Publish, upstream: Upstream, file_sync: Sync
) -> None:
    url = publish({"a": b"1", "b": b"2"})
    upstream.always("/b", Hang())
    sync = file_sync(url, timeout=0.5)
    error = await outcome(sync.acreate())
    (run,) = await engine.catalog.runs.newest("files")

    assert isinstance(error, SyncTimeoutError)
    assert isinstance(error, TimeoutError)
    assert "not done within its timeout of 0.5 s; it had come to: " in str(error)
    assert "Downloading Artifacts 1 of 2" in str(error)
    assert run.state == "failed"
    assert run.error == str(error)
    assert [found.number for found in await engine.catalog.repositories.versions("files")] == [0]


async def test_the_time_of_a_sync_counts_from_its_turn(
    tmp_path: Path, conninfo: str, publish: Publish, upstream: Upstream, file_sync: Sync
) -> None:
    url = publish({"a": b"1"})
    async with Engine(tmp_path / "one", database_url=conninfo, syncs_at_once=1) as engine:
        async with engine.turns.taken():
            syncing = asyncio.create_task(file_sync(url, engine=engine, timeout=5).acreate())
            await asyncio.sleep(0)
        assert await syncing is not None
        assert await paths(engine) == {"a": True}


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_no_time_is_refused(file_sync: Sync, timeout: float) -> None:
    with pytest.raises(SettingsError, match="timeout must be a positive number of seconds"):
        file_sync("http://localhost/PULP_MANIFEST", timeout=timeout)


async def test_an_iterator_that_is_left_open_does_not_have_the_closing_task_cancelled(
    tmp_path: Path, conninfo: str, publish: Publish, file_sync: Sync
) -> None:
    """A `CancelledError` that was nobody's came out of the engine's `async with`."""
    url = publish({"a": b"1"})
    async with Engine(tmp_path / "one", database_url=conninfo) as engine:
        await file_sync(url, engine=engine).acreate()
        entries = engine.catalog.repositories.entries("files")
        async for _ in entries:
            break

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert [batch async for batch in entries] == []
