"""When a sync begins, of all that an engine is given.

1. At most `most` go on at a time. A place is held only by a sync that receives something: one from
   which no sign of life has come for a while gives its place up, and counts again when something
   comes (`home.py`). It keeps its session of the database, so at most `QUIET` times as many may be
   without a place.
2. `AT_EASE` of them may fetch at any time: when the last downloads of one are under way, the next
   one begins. Beyond them, one begins at each look at the loop that finds it with time to spare of
   late, because then it is upstreams that are waited for; and for each that ends before the next
   look. While the loop is busy, one more begins every `PATIENCE` seconds. A loop that has no room
   for more until the store is done is as good as busy.
3. For each one whose upstream has not answered at all, one more may begin at ease: many that wait
   in vain are soon passed.
4. First come, first served; but those go last whose upstream keeps another sync waiting for its
   first answer, and while one does, most turns go to those whose upstream has answered.
5. A sync within a sync takes a turn as any other: the outer one receives nothing meanwhile, and
   gives up its place.
6. A turn is taken before the repository is locked. Who waits for a turn holds nothing.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

from flowsync.download.pacing.host_limits import Traffic
from flowsync.engine.home import Life
from flowsync.model.url import Origin

AT_EASE: Final = 1
"""Syncs that fetch without a look at the loop."""

PATIENCE: Final = 5.0
"""Seconds after which a busy loop gets one more sync."""

INTERVAL: Final = 0.1
"""Seconds between two looks at the loop, which is looked at only while a sync waits."""

TICK: Final = 0.025
"""Seconds between two looks at syncs whose upstreams have not answered; while a sync waits, as
`INTERVAL`.
"""

QUIET: Final = 6
"""Syncs without a place, for each that may have one. A server of the usual hundred sessions bears
that.
"""

FAIR: Final = 8
"""While an upstream keeps a sync waiting, one of so many turns goes to the first in the line,
whether or not its upstream has answered yet.
"""

HISTORY: Final = 0.8
"""Weight, in the load of the loop, of what it was before the last look: a busy loop pauses for a
tenth of a second now and then, while all that goes on is being stored. A loop that is busy no more
is found so after 0.4 s.
"""

BUSY: Final = 0.5
"""Load from which on the loop is busy: the share of the time in which its thread works. With first
syncs of many small files it is 0.6 to 0.8 on two cores, which the thread shares with all that it
keeps at work.
"""


def one_more(
    going_on: int, fetching: int, most: int, load: float, since: float, at_ease: int = AT_EASE
) -> bool:
    """Say whether one more sync begins beside those `going_on`, of which so many are `fetching`,
    with such a `load` of the loop, when the last one began `since` seconds ago, and so many may
    fetch without a look at the loop.
    """
    if going_on >= most:
        return False
    return fetching < at_ease or load < BUSY or since >= PATIENCE


def smoothed(load: float, worked: float) -> float:
    """Return the load that follows on `load` after a look that found the thread to have `worked`
    this share of the time.
    """
    return HISTORY * load + (1 - HISTORY) * worked


class Turn:
    """What a sync has when its turn has come, until it ends. `life` is what it tells of itself."""

    __slots__ = ("_fetching", "_of", "began_at", "life", "origins", "quiet")

    def __init__(self, of: "Turns | None" = None, origins: Collection[Origin] = ()) -> None:
        self._of = of
        self._fetching = of is not None
        self.began_at = 0.0 if of is None else of.now()
        self.life = Life(self.began_at)
        self.origins = frozenset(origins)
        self.quiet = False

    @property
    def goes_on(self) -> bool:
        """Whether it holds a place."""
        return self._of is not None and not self.quiet

    @property
    def fetches(self) -> bool:
        """Whether it keeps others from fetching."""
        return self._fetching and self.goes_on

    def nearly_fetched(self) -> None:
        """Tell that the last downloads are under way: what comes then does not keep others from
        fetching. A second call does nothing.
        """
        if self._of is not None and self._fetching:
            self._fetching = False
            self._of.let_in()

    def end(self) -> None:
        """Pass the turn on."""
        turns, self._of = self._of, None
        if turns is not None:
            turns.ended(self)


class _Place(NamedTuple):
    """A place in the line."""

    came: "asyncio.Future[Turn]"
    origins: frozenset[Origin]


class Turns:
    """The turns of the syncs of one engine, used from the loop in which it is made. `is_clogged`
    says whether the loop waits for the store, `traffic` what is under way for which remotes.
    """

    def __init__(
        self,
        most: int,
        is_clogged: Callable[[], bool] = lambda: False,
        traffic: Callable[[], Mapping[str, Traffic]] = dict,
    ) -> None:
        self._most = most
        self._is_clogged = is_clogged
        self._traffic = traffic
        self._loop = asyncio.get_running_loop()
        self._turns: list[Turn] = []
        self._line: list[_Place] = []
        self._heard: dict[Origin, float] = {}
        self._passed = 0
        self._began_at = 0.0
        self._looking = False
        self._looked_at = 0.0
        self._had_worked = 0.0
        self._load = 1.0

    @property
    def fetching(self) -> int:
        """Syncs that fetch now."""
        return sum(turn.fetches for turn in self._turns)

    @property
    def going_on(self) -> int:
        """Syncs that hold a place now."""
        return sum(turn.goes_on for turn in self._turns)

    @asynccontextmanager
    async def taken(self, origins: Collection[Origin] = ()) -> AsyncIterator[Turn]:
        """Wait for a turn, and hold it until the block ends. `origins` are the upstreams that are
        asked first, as far as they are known.
        """
        turn = await self._begin(frozenset(origins))
        try:
            yield turn
        finally:
            turn.end()

    def now(self) -> float:
        """Return the loop's time."""
        return self._loop.time()

    def ended(self, turn: Turn) -> None:
        """Take note that a turn ended, and let the next one begin if that leaves room for it."""
        self._turns = [other for other in self._turns if other is not turn]
        if turn.life.answered and self._turns:
            self._heard.update(dict.fromkeys(turn.origins, self.now()))
        self.let_in()

    async def _begin(self, origins: frozenset[Origin]) -> Turn:
        place = _Place(self._loop.create_future(), origins)
        self._line.append(place)
        self.let_in(1.0)
        if not place.came.done() and not self._looking:
            self._load = 1.0
            self._look_later()
        try:
            return await place.came
        except BaseException:
            if place.came.cancelled():
                with suppress(ValueError):  # those before it may have passed it over
                    self._line.remove(place)
            else:
                # It came in the moment in which its sync was cancelled.
                place.came.result().end()
            raise

    def let_in(self, load: float | None = None, *, lately: float = 1.0) -> None:
        """Let those begin who may: all who may do so at ease, or one beyond them. `lately` is the
        load since the last look.
        """
        load = self._load if load is None else load
        now = self.now()
        while self._line:
            waits_in_vain = 0 if lately >= BUSY else self._unanswered()
            fetching, at_ease = self.fetching, AT_EASE + waits_in_vain
            since = now - self._began_at
            full = len(self._turns) >= self._most * (1 + QUIET)
            if full or not one_more(self.going_on, fetching, self._most, load, since, at_ease):
                return
            place = self._line.pop(self._next())
            if place.came.done():
                continue
            self._began_at = now
            turn = Turn(self, place.origins)
            self._turns.append(turn)
            place.came.set_result(turn)
            if fetching >= at_ease:
                return

    def _unanswered(self) -> int:
        return sum(turn.quiet and not turn.life.answered for turn in self._turns)

    def _next(self) -> int:
        """Return who is next in the line: the first whose upstream is not known to be silent, or
        else the first.

        While an upstream keeps one waiting, and but for each `FAIR`th time, it is the first whose
        upstreams have answered, or else the last of those that are not known to be silent: who came
        together with a silent one may be as silent.
        """
        silent = {
            origin
            for turn in self._turns
            if turn.quiet and not turn.life.answered
            for origin in turn.origins
            if self._heard.get(origin, -math.inf) < turn.began_at
        }
        if not silent:
            return 0
        may = [at for at, place in enumerate(self._line) if silent.isdisjoint(place.origins)]
        if not may:
            return 0
        self._passed += 1
        if self._passed % FAIR == 0:
            return may[0]
        heard = (
            at
            for at in may
            if self._line[at].origins and self._line[at].origins <= self._heard.keys()
        )
        return next(heard, may[-1])

    def _look_later(self) -> None:
        self._looking = True
        self._looked_at, self._had_worked = self.now(), time.thread_time()
        self._loop.call_later(TICK, self._tick, self._looked_at, self._had_worked)

    def _tick(self, then: float, had_worked: float) -> None:
        """Look at the loop's load, and at which syncs have given up their places."""
        now, has_worked = self.now(), time.thread_time()
        lately = (has_worked - had_worked) / (now - then)
        if now - self._looked_at >= INTERVAL:
            worked = (has_worked - self._had_worked) / (now - self._looked_at)
            self._load = smoothed(self._load, 1.0 if self._is_clogged() else worked)
            self._looked_at, self._had_worked = now, has_worked
            self._look_at_turns(now, lately)
            self.let_in(lately=lately)
        elif any(not turn.life.answered for turn in self._turns):
            self._look_at_turns(now, lately)
            # One beyond those at ease begins only with a look at the loop.
            self.let_in(1.0, lately=lately)
        self._looking = bool(self._line)
        if self._looking:
            self._loop.call_later(TICK, self._tick, now, has_worked)

    def _look_at_turns(self, now: float, lately: float) -> None:
        traffic = self._traffic()
        for turn in self._turns:
            turn.quiet = turn.life.is_quiet(now, traffic, busy=lately >= BUSY)
            if turn.life.answered:
                self._heard.update(dict.fromkeys(turn.origins, now))
        if not self._turns:
            self._heard.clear()
