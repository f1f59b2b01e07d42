"""When a sync begins, of all that an engine is given.

1. At most `most` go on at a time: each has a session of the database, and a server has only so many. The others wait, first come, first served.
2. The first `AT_EASE` begin at once. Beyond them, one begins at each look at the loop that finds it with time to spare: then it is upstreams that
   are waited for. While the loop is busy, one more begins every `PATIENCE` seconds, so that slow upstreams cannot keep the others waiting for ever.
3. A sync within a sync goes with the turn of the outer one: outer ones that held all turns would wait for the inner ones for ever.
4. A turn is taken before the repository is locked, because waiting for a lock takes a session too; whoever waits for a turn holds nothing.

Decided: not all begin at once, because a busy loop is shared by those that go on, and all of them end at its end: with batches that are smaller and
sessions that are cold. Sixteen first syncs with 20 000 files of 4 KiB between them took 6.3 s when all began at once, and 5.5 s with turns, where one
sync of the same files took 5.0 s (medians of nine rounds, in turns, on two cores); and a sync ended after 3.5 s on average instead of 5.5.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Final

AT_EASE: Final = 4
"""Syncs that begin without a look at the loop. With three, the sixteen took 5.7 s."""

PATIENCE: Final = 2.0
"""Seconds after which a busy loop gets one more sync."""

INTERVAL: Final = 0.1
"""Seconds between two looks at the loop, which is looked at only while a sync waits."""

BUSY: Final = 0.5
"""Share of the time that the loop's thread works, from which on the loop is busy. With first syncs of many small files it is 0.7 to 0.8 on two cores,
which the thread shares with all that it keeps at work.
"""


def one_more(going_on: int, most: int, load: float, since: float) -> bool:
    """Say whether one more sync begins beside those `going_on`, when the loop's thread works `load` of the time, and the last one began `since`
    seconds ago.
    """
    if going_on >= most:
        return False
    return going_on < AT_EASE or load < BUSY or since >= PATIENCE


class _Turn:
    """What a sync and all that it starts know of its turn. A task that it left behind must not take it for its own."""

    __slots__ = ("held", "of")

    def __init__(self, of: "Turns") -> None:
        self.of = of
        self.held = True


_mine: ContextVar[_Turn | None] = ContextVar("flowsync.turn", default=None)


class Turns:
    """The turns of the syncs of one engine, used from the loop in which it is made."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._going_on = 0
        self._began_at = 0.0
        self._line: deque[asyncio.Future[None]] = deque()
        self._looking = False

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it until the block ends."""
        outer = _mine.get()
        if outer is not None and outer.of is self and outer.held:
            yield
            return
        await self._begin()
        turn = _Turn(self)
        before = _mine.set(turn)
        try:
            yield
        finally:
            turn.held = False
            _mine.reset(before)
            self._end()

    async def _begin(self) -> None:
        turn: asyncio.Future[None] = self._loop.create_future()
        self._line.append(turn)
        self._let_in(load=1.0)
        if not turn.done():
            self._look_later()
        try:
            await turn
        except BaseException:
            if turn.cancelled():
                with suppress(ValueError):  # those before it may have passed it over
                    self._line.remove(turn)
            else:
                # It came in the moment in which its sync was cancelled.
                self._end()
            raise

    def _end(self) -> None:
        self._going_on -= 1
        self._let_in(load=1.0)

    def _let_in(self, load: float) -> None:
        """Let whoever is first begin, if one more may."""
        now = self._loop.time()
        while self._line and one_more(self._going_on, self._most, load, now - self._began_at):
            turn = self._line.popleft()
            if not turn.done():
                self._going_on += 1
                self._began_at = now
                turn.set_result(None)
                return

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            self._loop.call_later(INTERVAL, self._look, self._loop.time(), time.thread_time())

    def _look(self, then: float, had_worked: float) -> None:
        self._looking = False
        self._let_in((time.thread_time() - had_worked) / (self._loop.time() - then))
        if self._line:
            self._look_later()
