"""When a sync begins, of all that an engine is given.

1. At most `most` go on at a time: each has a session of the database, and a server has only so many. The others wait, first come, first served.
2. `AT_EASE` of them may fetch at any time: when the last downloads of one are under way, the next one begins. Beyond them, one begins at each look at
   the loop that finds it with time to spare of late, because then it is upstreams that are waited for; and for each that ends before the next look.
   While the loop is busy, one more begins every `PATIENCE` seconds, so that large syncs cannot keep the others waiting for ever. A loop that has no
   room for more until the store is done is as good as busy.
3. A sync within a sync goes with the turn of the outer one: outer ones that held all turns would wait for the inner ones for ever.
4. A turn is taken before the repository is locked, because waiting for a lock takes a session too; whoever waits for a turn holds nothing.

Decided: not all begin at once, because a busy loop is shared by those that go on, and all of them end at its end: with batches that are smaller and
sessions that are cold. Sixteen first syncs with 20 000 files of 4 KiB between them took 6.3 s when all began at once, and 5.5 s with four at ease,
where one sync of the same files took 5.0 s (medians of nine rounds, in turns, on two cores).

Decided: one fetches at ease, and passes that on before its last files are there. Two came to their ends together, and while the database stored both,
a quarter of the time, nothing was fetched. Sixteen took 4.89 s and take 4.77 s, beside 4.43 s of one sync (medians of eight rounds); with two that
pass it on as early it is 4.87 s, not 4.76, beside 4.46 s (eleven rounds). With flushes that take 30 ms more, sixteen took 5.79 s and take 5.21 s,
beside 5.17 s (six).

Decided: a loop that waits for the store is taken for a busy one, because one more sync would wait too, and what is fetched would be spread over more
and smaller batches. With flushes that take 100 ms more, sixteen took 9.88 s and take 8.21 s (four rounds), where one sync takes 7.75 s.

Decided: who ends lets in the next one by what the last look found, because one at each look would be ten syncs a second. Sixty of two files, from an
upstream that answers after 0.05 s, took 3.4 s and take 1.4; again, when nothing was new, 1.7 and 1.1.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Final

AT_EASE: Final = 1
"""Syncs that fetch without a look at the loop."""

PATIENCE: Final = 5.0
"""Seconds after which a busy loop gets one more sync."""

INTERVAL: Final = 0.1
"""Seconds between two looks at the loop, which is looked at only while a sync waits."""

HISTORY: Final = 0.8
"""Weight, in the load of the loop, of what it was before the last look: a busy loop pauses for a tenth of a second now and then, while all that goes
on is being stored. A loop that is busy no more is found so after 0.4 s.
"""

BUSY: Final = 0.5
"""Load from which on the loop is busy: the share of the time in which its thread works. With first syncs of many small files it is 0.6 to 0.8 on two
cores, which the thread shares with all that it keeps at work.
"""


def one_more(going_on: int, fetching: int, most: int, load: float, since: float) -> bool:
    """Say whether one more sync begins beside those `going_on`, of which so many are `fetching`, with such a `load` of the loop, when the last one
    began `since` seconds ago.
    """
    if going_on >= most:
        return False
    return fetching < AT_EASE or load < BUSY or since >= PATIENCE


def smoothed(load: float, worked: float) -> float:
    """Return the load that follows on `load` after a look that found the thread to have `worked` this share of the time."""
    return HISTORY * load + (1 - HISTORY) * worked


class Turn:
    """What a sync and all that it starts know of its turn. A task that it left behind must not take it for its own."""

    __slots__ = ("_fetching", "_of")

    def __init__(self, of: "Turns | None" = None) -> None:
        self._of = of
        self._fetching = of is not None

    def belongs_to(self, turns: "Turns") -> bool:
        """Say whether this is a turn of `turns` that has not ended."""
        return self._of is turns

    def nearly_fetched(self) -> None:
        """Tell that the last downloads are under way: what comes then does not keep others from fetching. A second call does nothing."""
        if self._of is not None and self._fetching:
            self._fetching = False
            self._of._go_on(fetching=-1)

    def end(self) -> None:
        """Pass the turn on."""
        turns, self._of = self._of, None
        if turns is not None:
            turns._go_on(going_on=-1, fetching=-1 if self._fetching else 0)


_mine: ContextVar[Turn | None] = ContextVar("flowsync.turn", default=None)


class Turns:
    """The turns of the syncs of one engine, used from the loop in which it is made. `is_clogged` says whether the loop waits for the store."""

    def __init__(self, most: int, is_clogged: Callable[[], bool] = lambda: False) -> None:
        self.fetching = 0
        """Syncs that fetch now."""
        self._most = most
        self._is_clogged = is_clogged
        self._loop = asyncio.get_running_loop()
        self._going_on = 0
        self._began_at = 0.0
        self._line: deque[asyncio.Future[Turn]] = deque()
        self._looking = False
        self._load = 1.0

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[Turn]:
        """Wait for a turn, and hold it until the block ends."""
        outer = _mine.get()
        if outer is not None and outer.belongs_to(self):
            yield Turn()
            return
        turn = await self._begin()
        before = _mine.set(turn)
        try:
            yield turn
        finally:
            _mine.reset(before)
            turn.end()

    async def _begin(self) -> Turn:
        place: asyncio.Future[Turn] = self._loop.create_future()
        self._line.append(place)
        self._let_in(1.0)
        if not place.done() and not self._looking:
            self._load = 1.0
            self._look_later()
        try:
            return await place
        except BaseException:
            if place.cancelled():
                with suppress(ValueError):  # those before it may have passed it over
                    self._line.remove(place)
            else:
                # It came in the moment in which its sync was cancelled.
                place.result().end()
            raise

    def _go_on(self, *, going_on: int = 0, fetching: int = 0) -> None:
        """Count how many more, or less, there are, and let the next one begin if that leaves room for it."""
        self._going_on += going_on
        self.fetching += fetching
        self._let_in(self._load)

    def _let_in(self, load: float) -> None:
        """Let whoever is first begin, if one more may."""
        now = self._loop.time()
        while self._line and one_more(
            self._going_on, self.fetching, self._most, load, now - self._began_at
        ):
            place = self._line.popleft()
            if not place.done():
                self._going_on += 1
                self.fetching += 1
                self._began_at = now
                place.set_result(Turn(self))
                return

    def _look_later(self) -> None:
        self._looking = True
        self._loop.call_later(INTERVAL, self._look, self._loop.time(), time.thread_time())

    def _look(self, then: float, had_worked: float) -> None:
        worked = (time.thread_time() - had_worked) / (self._loop.time() - then)
        self._load = smoothed(self._load, 1.0 if self._is_clogged() else worked)
        self._let_in(self._load)
        self._looking = False
        if self._line:
            self._look_later()
