"""Syncs of one engine begin in turn: never more than a server has sessions for, and more than a few
only while the loop has time to spare.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import pytest

from flowsync import DeclarativeVersion, Engine, Remote, Repository, Stage
from flowsync.download.pacing.host_limits import Traffic
from flowsync.engine.home import LEAST, PAUSE, UNANSWERED, WORK, Life
from flowsync.engine.turns import AT_EASE, BUSY, PATIENCE, Turn, Turns, one_more, smoothed
from flowsync.errors import SettingsError
from flowsync.model.url import Origin
from flowsync.sources.file import FileFirstStage
from tests.integration.catalog.waiting import lock_waiters
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.behaviours import Hold
from tests.upstream.server import Upstream


class Goer:
    """A task that takes a turn and keeps it until it is told to end."""

    def __init__(self, turns: Turns, *origins: Origin) -> None:
        self.turn = Turn()
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.task = asyncio.create_task(self._go(turns, origins))

    async def end(self) -> None:
        self.ended.set()
        await self.task

    async def _go(self, turns: Turns, origins: Sequence[Origin]) -> None:
        async with turns.taken(origins) as self.turn:
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


async def test_beside_an_idle_loop_the_next_one_begins_when_one_ends() -> None:
    """It waited for the next look, and each look let in one: ten short syncs a second, however long
    they waited for their upstreams.
    """
    most = AT_EASE + 2
    async with going(Turns(most), most + 1) as goers:
        await goers[most - 1].begun.wait()
        before = goers[most].begun.is_set()
        await goers[0].end()
        after = goers[most].begun.is_set()

    assert (before, after) == (False, True)


async def test_a_loop_that_waits_for_the_store_lets_no_more_in() -> None:
    """On a slow disk all of sixteen syncs went on side by side, and what each had fetched was
    stored in small batches.
    """
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
    turns = Turns(1)
    async with turns.taken():
        first, second = (Goer(turns) for _ in range(2))
        await asyncio.sleep(0)
        if within:
            first.task.cancel()
    if not within:
        first.task.cancel()
    await second.begun.wait()
    await second.end()

    assert first.task.cancelled()
    assert not first.begun.is_set()


async def test_more_syncs_at_once_than_the_server_has_sessions_for(
    publish: Publish, file_sync: Sync
) -> None:
    """Each held a session from its beginning: "sorry, too many clients already"."""
    url = publish({"a": b"1"})
    syncs = [file_sync(url, name=f"files-{number}") for number in range(120)]

    versions = await asyncio.gather(*(sync.acreate() for sync in syncs))

    assert {version and version.number for version in versions} == {1}


async def test_a_sync_within_a_sync_gets_a_turn_when_the_outer_ones_hold_all(
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


class Silence:
    """Upstreams on as many ports that accept and never answer: not at all, with a head and nothing
    more, or with a byte a second behind it. `asked` counts the connections.
    """

    def __init__(self, count: int, behaviour: str = "silent") -> None:
        self.count = count
        self.behaviour = behaviour
        self.asked = 0
        self._servers: list[asyncio.Server] = []

    async def __aenter__(self) -> list[str]:
        for _ in range(self.count):
            self._servers.append(await asyncio.start_server(self._hold, "127.0.0.1", 0))
        ports = [server.sockets[0].getsockname()[1] for server in self._servers]
        return [f"http://127.0.0.1:{port}/PULP_MANIFEST" for port in ports]

    async def __aexit__(self, *error: object) -> None:
        for server in self._servers:
            server.close()

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        if self.behaviour != "silent":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        dripping = asyncio.create_task(self._drip(writer))
        while await reader.read(1 << 16):
            pass
        dripping.cancel()
        writer.close()

    async def _drip(self, writer: asyncio.StreamWriter) -> None:
        while self.behaviour == "drip":
            writer.write(b"#")
            await asyncio.sleep(1)


def sync_of(engine: Engine, url: str, name: str) -> DeclarativeVersion:
    stage = FileFirstStage(Remote(name=name, url=url, max_retries=0))
    return DeclarativeVersion(stage, Repository(name=name), engine=engine)


@asynccontextmanager
async def under_way(syncs: Sequence[DeclarativeVersion]) -> AsyncIterator[None]:
    """Let syncs go on during the block, ahead of what it begins; then end them."""
    tasks = [asyncio.create_task(sync.acreate()) for sync in syncs]
    await asyncio.sleep(0)
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.mark.parametrize(
    ("behaviour", "count"), [("silent", 40), ("head", 40), ("drip", 40), ("silent", 100)]
)
async def test_upstreams_that_never_answer_hardly_delay_any_other_sync(
    engine: Engine, publish: Publish, file_sync: Sync, behaviour: str, count: int
) -> None:
    """Eight of them kept every other sync from starting; each that sent a byte a second did so for
    as long as it went on.
    """
    url = publish({"a": b"1"})
    alone: list[float] = []
    beside: list[float] = []

    async def healthy(name: str) -> float:
        syncs = [file_sync(url, name=f"{name}-{number}") for number in range(30)]
        began = time.monotonic()
        async with asyncio.timeout(30):
            versions = await asyncio.gather(*(sync.acreate() for sync in syncs))
        assert {version and version.number for version in versions} == {1}
        return time.monotonic() - began

    for turn in range(3):
        alone.append(await healthy(f"alone-{turn}"))
        async with Silence(count, behaviour) as silent:
            names = [f"stalled-{turn}-{number}" for number in range(count)]
            stalled = [
                sync_of(engine, each, name) for each, name in zip(silent, names, strict=True)
            ]
            async with under_way(stalled):
                beside.append(await healthy(f"beside-{turn}"))

    # Half as much again, and what passing the first silent ones takes.
    assert median(beside) <= 1.5 * median(alone) + 2.0, (alone, beside)


async def test_syncs_whose_upstream_keeps_one_waiting_go_behind_others(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """Each would take a session of the database, and wait with it."""
    url = publish({"a": b"1"})
    silence = Silence(1)
    async with silence as (silent,):
        stalled = [sync_of(engine, silent, f"stalled-{number}") for number in range(200)]
        healthy = [file_sync(url, name=f"files-{number}") for number in range(20)]
        async with under_way(stalled):
            async with asyncio.timeout(60):
                await asyncio.gather(*(sync.acreate() for sync in healthy))
            asked = silence.asked

    assert asked < 100


async def test_downloads_that_never_come_give_up_the_place_too(
    tmp_path: Path, conninfo: str, publish: Publish, upstream: Upstream, file_sync: Sync
) -> None:
    url = publish({"a": b"1", "b": b"2"})
    upstream.always("/b", Hold())
    async with Engine(tmp_path / "one", database_url=conninfo, syncs_at_once=1) as engine:
        held = asyncio.create_task(file_sync(url, engine=engine).acreate())
        await asyncio.to_thread(upstream.wait_for, 1, "/b")
        async with asyncio.timeout(20):
            await sync_of(engine, upstream.put("/none/PULP_MANIFEST", b""), "other").acreate()
        before = held.done()
        upstream.release()
        version = await held

    assert not before
    assert version is not None
    assert version.present == 2


async def test_who_waits_for_a_repository_gives_up_the_place(
    tmp_path: Path, conninfo: str, publish: Publish, file_sync: Sync
) -> None:
    url = publish({"a": b"1"})
    async with Engine(tmp_path / "one", database_url=conninfo, syncs_at_once=1) as engine:
        async with engine.new_version(Repository(name="held")):
            waiting = asyncio.create_task(file_sync(url, name="held", engine=engine).acreate())
            await lock_waiters(engine.catalog.database, 1)
            async with asyncio.timeout(20):
                version = await file_sync(url, engine=engine).acreate()
            before = waiting.done()
        await waiting

    assert not before
    assert version is not None


async def test_places_without_a_sign_of_life_are_bounded() -> None:
    """Each keeps a session of the database."""
    turns = Turns(1)
    async with going(turns, 20) as goers:
        for goer in goers[:7]:
            await goer.begun.wait()
            goer.turn.quiet = True
            turns.let_in(0.0)
        await asyncio.sleep(0)
        begun = [goer.begun.is_set() for goer in goers]

    assert begun == [True] * 7 + [False] * 13


class Clock:
    """What one sync tells of itself, at times that the test says."""

    def __init__(self) -> None:
        self.count = 0
        self.idle = True
        self.life = Life(0.0)

    def quiet(self, now: float, taken: int | None = None, *, busy: bool = False) -> bool:
        traffic = (
            {}
            if taken is None
            else {"own": Traffic(taken, 0.0), "other": Traffic(int(now * 1000), 0.0)}
        )
        return self.life.is_quiet(now, traffic, busy=busy)


def test_a_first_request_without_an_answer_is_soon_quiet_unless_the_loop_is_busy() -> None:
    clock = Clock()
    with clock.life.watched(lambda: clock.count, lambda: clock.idle, ["own"]):
        early = clock.quiet(UNANSWERED / 2, 0)
        busy = clock.quiet(UNANSWERED * 2, 0, busy=True)
        late = clock.quiet(UNANSWERED * 2, 0)

    assert (early, busy, late) == (False, False, True)


def test_bytes_and_items_are_signs_of_life() -> None:
    clock = Clock()
    with clock.life.watched(lambda: clock.count, lambda: clock.idle, ["own"]):
        bytes_came = clock.quiet(10 * PAUSE, 5000)
        still = clock.quiet(10.5 * PAUSE, 5000)
        nothing = clock.quiet(11.5 * PAUSE, 5000)
        clock.count += 1
        item_came = clock.quiet(12 * PAUSE, 5000)

    assert (bytes_came, still, nothing, item_came) == (False, False, True, False)


def test_a_byte_a_second_is_no_sign_of_life() -> None:
    clock = Clock()
    with clock.life.watched(lambda: clock.count, lambda: clock.idle, ["own"]):
        trickles = [clock.quiet(second, second) for second in range(1, 5)]
        flows = clock.quiet(5, 4 + LEAST)
        ended = clock.quiet(9, 0)

    assert (trickles, flows, ended) == ([True] * 4, False, False)


def test_a_sync_that_ends_between_two_looks_has_been_answered() -> None:
    clock = Clock()
    with clock.life.watched(lambda: clock.count, lambda: clock.idle, ["own"]):
        clock.count += 1

    assert clock.life.answered


@pytest.mark.parametrize(("heard", "next_one"), [([], 4), ([2], 2)])
async def test_while_one_waits_in_vain_the_next_is_one_that_was_heard_or_the_last(
    heard: list[int], next_one: int
) -> None:
    """Those right behind it may be as silent."""
    origins = [("http", f"h{number}", 80) for number in range(5)]
    turns = Turns(1)
    goers = [Goer(turns, origin) for origin in origins]
    await goers[0].begun.wait()
    for number in heard:
        over = Turn(turns, [origins[number]])
        over.life.answered = True
        over.end()
    goers[0].turn.quiet = True
    turns.let_in(0.0)
    await asyncio.sleep(0)
    begun = [number for number, goer in enumerate(goers) if goer.begun.is_set()]
    for goer in goers:
        goer.ended.set()
    await asyncio.wait([goer.task for goer in goers])

    assert begun == [0, next_one]


def test_a_stage_that_works_on_what_it_has_is_given_longer() -> None:
    clock = Clock()
    clock.idle = False
    with clock.life.watched(lambda: clock.count, lambda: clock.idle, ["own"]):
        assert not clock.quiet(WORK - 0.1)
        assert clock.quiet(WORK + 0.1)
    assert not clock.quiet(WORK - 0.1)


def test_an_engine_that_lets_no_sync_go_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="syncs_at_once must be at least 1, found 0"):
        Engine(tmp_path, syncs_at_once=0)
