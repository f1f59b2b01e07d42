"""Syncs of one engine begin in turn: never more than a server has sessions for, and more than a few only while the loop has time to spare."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from pathlib import Path

import pytest

from flowsync import DeclarativeVersion, Engine, Repository, Stage
from flowsync.model.errors import SettingsError
from flowsync.sync.turns import AT_EASE, BUSY, PATIENCE, Turn, Turns, one_more, smoothed
from tests.integration.catalog.waiting import lock_waiters
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.behaviours import Hold
from tests.upstream.server import Upstream


class Goer:
    """A task that takes a turn, after the event `start` if that is given, and keeps it until it is told to end."""

    def __init__(
        self, turns: Turns, *, context: Context | None = None, start: asyncio.Event | None = None
    ) -> None:
        self.turn = Turn()
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.task = asyncio.create_task(self._go(turns, start), context=context)

    async def end(self) -> None:
        self.ended.set()
        await self.task

    async def _go(self, turns: Turns, start: asyncio.Event | None) -> None:
        if start is not None:
            await start.wait()
        async with turns.taken() as self.turn:
            self.begun.set()
            await self.ended.wait()


@asynccontextmanager
async def going(turns: Turns, count: int) -> AsyncIterator[list[Goer]]:
    """Start `count` of them in a row; at the end, have all of them end."""
    goers = [Goer(turns) for _ in range(count)]
    try:
        yield goers
    finally:
        for goer in goers:
            goer.ended.set()
        await asyncio.wait([goer.task for goer in goers])


@pytest.mark.parametrize(
    ("going_on", "fetching", "load", "since", "begins"),
    [
        (7, AT_EASE - 1, 1.0, 0.0, True),
        (AT_EASE, AT_EASE, 1.0, 0.0, False),
        (AT_EASE, AT_EASE, BUSY, PATIENCE / 2, False),
        (AT_EASE, AT_EASE, BUSY / 2, 0.0, True),
        (AT_EASE, AT_EASE, 1.0, PATIENCE, True),
        (8, 0, 0.0, 100 * PATIENCE, False),
    ],
)
def test_one_more_begins_at_ease_or_beside_an_idle_loop_or_after_a_while(
    going_on: int, fetching: int, load: float, since: float, begins: bool
) -> None:
    assert one_more(going_on, fetching, 8, load, since) is begins


def test_a_limit_below_the_number_at_ease_counts() -> None:
    assert one_more(0, 0, 1, 1.0, 0.0)
    assert not one_more(1, 1, 1, 0.0, PATIENCE)


def test_a_busy_loop_that_pauses_is_busy_and_one_that_stays_idle_is_not() -> None:
    paused = smoothed(smoothed(1.0, 0.0), 1.0)
    idle = 1.0
    for _ in range(4):
        idle = smoothed(idle, 0.0)

    assert paused > BUSY
    assert idle < BUSY


async def test_who_has_nearly_fetched_lets_another_one_begin_and_still_counts_among_the_most() -> (
    None
):
    turns = Turns(AT_EASE + 1)
    async with going(turns, AT_EASE + 2) as goers:
        await goers[AT_EASE - 1].begun.wait()
        before = goers[AT_EASE].begun.is_set()
        goers[0].turn.nearly_fetched()
        goers[0].turn.nearly_fetched()
        await asyncio.sleep(0)
        after = [goer.begun.is_set() for goer in goers[AT_EASE:]]
        fetching = turns.fetching

    assert (before, after, fetching) == (False, [True, False], AT_EASE)
    assert turns.fetching == 0


async def test_a_sync_within_a_sync_does_not_tell_that_the_outer_one_has_nearly_fetched() -> None:
    turns = Turns(1)
    async with turns.taken():
        async with turns.taken() as inner:
            inner.nearly_fetched()
        assert turns.fetching == 1


async def test_beside_an_idle_loop_the_next_one_begins_when_one_ends() -> None:
    """It waited for the next look, and each look let in one: ten short syncs a second, however long they waited for their upstreams."""
    most = AT_EASE + 2
    async with going(Turns(most), most + 1) as goers:
        await goers[most - 1].begun.wait()
        before = goers[most].begun.is_set()
        await goers[0].end()
        after = goers[most].begun.is_set()

    assert (before, after) == (False, True)


async def test_a_loop_that_waits_for_the_store_lets_no_more_in() -> None:
    """On a slow disk all of sixteen syncs went on side by side, and what each had fetched was stored in small batches."""
    looks = 0
    looked_often, cleared = asyncio.Event(), False

    def is_clogged() -> bool:
        nonlocal looks
        looks += 1
        if looks == 8:
            looked_often.set()
        return not cleared

    async with going(Turns(AT_EASE + 1, is_clogged), AT_EASE + 1) as goers:
        await looked_often.wait()
        while_clogged = goers[AT_EASE].begun.is_set()
        cleared = True
        await goers[AT_EASE].begun.wait()

    assert not while_clogged


async def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    async with going(Turns(1), 3) as (first, second, third):
        await first.begun.wait()
        await first.end()
        await second.begun.wait()
        assert not third.begun.is_set()
        await second.end()
        await third.begun.wait()


async def test_who_is_cancelled_in_the_line_leaves_it() -> None:
    async with going(Turns(1), 3) as (first, second, third):
        await first.begun.wait()
        second.task.cancel()
        await asyncio.wait([second.task])
        await first.end()
        await third.begun.wait()

    assert not second.begun.is_set()


@pytest.mark.parametrize("within", [True, False])
async def test_who_is_cancelled_in_the_moment_of_its_turn_passes_it_on(within: bool) -> None:
    """Just before it would have the turn, and just after, when it does not know of it yet."""
    turns, outside = Turns(1), copy_context()
    async with turns.taken():
        first, second = (Goer(turns, context=outside.copy()) for _ in range(2))
        await asyncio.sleep(0)
        if within:
            first.task.cancel()
    if not within:
        first.task.cancel()
    await second.begun.wait()
    await second.end()

    assert first.task.cancelled()
    assert not first.begun.is_set()


async def test_what_a_sync_starts_goes_with_its_turn_and_takes_another_one_afterwards() -> None:
    turns, later = Turns(1), asyncio.Event()
    async with turns.taken():
        within, behind = Goer(turns), Goer(turns, start=later)
        await within.begun.wait()
        await within.end()

    async with going(turns, 1) as (other,):
        await other.begun.wait()
        later.set()
        last = Goer(turns)
        await other.end()
        await behind.begun.wait()
        assert not last.begun.is_set()
        await behind.end()
        await last.end()


async def test_more_syncs_at_once_than_the_server_has_sessions_for(
    publish: Publish, file_sync: Sync
) -> None:
    """Each held a session from its beginning: "sorry, too many clients already"."""
    url = publish({"a": b"1"})
    syncs = [file_sync(url, name=f"files-{number}") for number in range(120)]

    versions = await asyncio.gather(*(sync.acreate() for sync in syncs))

    assert {version and version.number for version in versions} == {1}


async def test_a_sync_within_a_sync_does_not_wait_for_its_turn(
    tmp_path: Path, conninfo: str, publish: Publish, file_sync: Sync
) -> None:
    """As a plugin does whose upstream refers to other repositories."""
    url = publish({"a": b"1"})

    class Outer(Stage):
        async def run(self) -> None:
            await inner.acreate()

    async with Engine(tmp_path / "one", database_url=conninfo, syncs_at_once=1) as engine:
        inner = file_sync(url, engine=engine)
        outer = DeclarativeVersion(Outer(), Repository(name="outer"), engine=engine)
        await outer.acreate()
        found = await paths(engine)

    assert found == {"a": True}


async def test_slow_upstreams_do_not_keep_other_syncs_from_their_turn(
    engine: Engine, publish: Publish, upstream: Upstream, file_sync: Sync
) -> None:
    url = publish({"a": b"1"})
    slow = upstream.put("/slow", b"")
    upstream.always("/slow", Hold())

    async with asyncio.TaskGroup() as group:
        waiting = [
            group.create_task(file_sync(slow, name=f"slow-{number}").acreate())
            for number in range(AT_EASE)
        ]
        version = await file_sync(url).acreate()
        any_done = any(sync.done() for sync in waiting)
        upstream.release()

    assert version is not None
    assert not any_done


async def test_the_last_downloads_of_a_sync_do_not_keep_others_from_fetching(
    engine: Engine, publish: Publish, upstream: Upstream, file_sync: Sync
) -> None:
    """Of syncs that went on side by side, all stored at once, and nothing was fetched meanwhile."""
    url = publish({"a": b"1"})
    upstream.always("/a", Hold())
    sync = asyncio.create_task(file_sync(url).acreate())
    await asyncio.to_thread(upstream.wait_for, 1, "/a")
    fetching = engine.turns.fetching
    upstream.release()
    version = await sync

    assert fetching == 0
    assert version is not None


async def test_a_sync_that_completes_its_version_does_not_keep_others_from_fetching(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    database = engine.catalog.database
    async with database.connection() as gate, gate.transaction():
        await engine.catalog.repositories.ensure(Repository(name="files"))
        await gate.execute("SELECT FROM repository FOR NO KEY UPDATE")
        sync = asyncio.create_task(file_sync(publish({"a": b"1"})).acreate())
        await lock_waiters(database, 1)
        fetching = engine.turns.fetching
    version = await sync

    assert fetching == 0
    assert version is not None


async def test_a_plan_takes_a_turn_too(
    tmp_path: Path, conninfo: str, publish: Publish, file_sync: Sync
) -> None:
    url = publish({"a": b"1"})
    async with Engine(tmp_path / "one", database_url=conninfo, syncs_at_once=1) as engine:
        first = Goer(engine.turns)
        await first.begun.wait()
        planning = asyncio.create_task(file_sync(url, engine=engine).aplan())
        await asyncio.sleep(0)
        last = Goer(engine.turns)
        await first.end()
        await last.begun.wait()
        planned = planning.done()
        await last.end()

        assert planned
        assert (await planning).added == 1


def test_an_engine_that_lets_no_sync_go_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="syncs_at_once is at least 1, found 0"):
        Engine(tmp_path, syncs_at_once=0)
