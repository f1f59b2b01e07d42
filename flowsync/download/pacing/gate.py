"""When the next request to one upstream may start. Pure: times come as arguments, the waiting is
done elsewhere.

1. Fewer requests run than the limit of the next one's remote allows: its own number, or what was
   learned of the upstream (`AdaptiveLimit`).
2. A remote's rate of requests is kept by spacing their starts, its rate of bytes by letting nothing
   start while bytes are ahead of it. All remotes with a rate share one account, in which each
   request counts by its own remote's rate.
3. When upstream answers 429 or 503 with `Retry-After`, nothing starts until then. After that
   requests come back one by one, spaced as they are where all goes well. What runs meanwhile goes
   on.

Decisions: docs/decisions/0013.

Also here: the limit that is learned from answers, the order of those who wait, and a rate that is
kept. The gate asks each of them before a request starts.
"""

import heapq
import math
from collections import deque
from typing import Final, Generic, NamedTuple, TypeVar

from flowsync.model.remote import Remote

# How many requests at a time one upstream can take, learned from its answers. Pure: times come as
# arguments.
#
# 1. It rises by one and a half with each answer, so it is two and a half times as high after a
#    round trip, until requests are refused or more of them bring no more.
# 2. A refusal is a sign of overload: a status, a time-out, a connection that fails. The first one
#    of a moment lowers the limit a little; further ones, of requests that were under way then,
#    lower it to as many as are still under way: those are what the upstream did take.
# 3. Then it holds. Now and then it probes a little higher, or half the way to what was refused last
#    where that is far. A probe that is refused, or does not pay, falls back to where it began, and
#    the next one comes after twice as long; one that pays is followed by a probe of twice the step.
#    Where `Retry-After` makes refusals dear, cuts that follow each other grow and probes are rarer
#    still.
# 4. Below one it is a part of the time: one request, then a rest. Between whole numbers, starts are
#    spaced.
# 5. Where requests queue up at the upstream, so that fewer would bring as much, it sinks, and comes
#    back if that was wrong.
#
# The reasons stand in docs/decisions/0013.

START: Final = 16.0
"""What most upstreams take."""

_RISE: Final = 1.5
"""Requests more for each answer, at first. With 1 a slow host gave 0.87 of its best, as the way up
was long; with 2 one that refuses gave 0.88.
"""

CEILING: Final = 128.0
"""More is impolite, and a run has no more than 200 contents in work."""

FLOOR: Final = 1 / 128
"""A request of 50 ms every six seconds."""

_CUT: Final = 0.05
"""What the first refusal takes off. Each further one without an answer in between takes twice as
much, at most half.
"""

_DOUBLINGS: Final = 4
"""After so many, the cut is a half."""

_STEP: Final = 0.05
"""The first step of a probe."""

_JUDGED: Final = 0.15
"""Smaller steps cannot be told from noise: they count as good if nothing was refused."""

_PAYS: Final = 0.25
"""A part of the growth that the throughput must follow."""

_ROUND: Final = 16
"""The fewest answers that are judged together; below one request at a time, a quarter of it,
because nothing varies there.
"""

_HOLD: Final = 4, 64
"""The rounds before a probe: at first and at most."""

_COST: Final = 20.0
"""A probe that ends in a pause costs at most one part of so many."""

_FORGIVEN: Final = 16
"""Answers that buy one refusal: some tries in a hundred may fail by chance."""

_CREDIT: Final = 3.0, 4.0
"""Refusals that are forgiven at first, and that may be bought in advance."""

_FAR: Final = 1.4
"""The first step of a probe goes half the way to a refused level that is so many times as high."""

_WEIGHT: Final = 1 / 64, 1 / 16
"""Of an answer in the mean duration, of which the pace is made; and of one that took less than half
as long, or more than twice.
"""

_DOWN: Final = 64
"""Refusals without an answer in between that show an upstream that is down."""

_SPACED: Final = 64.0
"""The largest limit of which the part behind the point is kept; spacing costs a timer a request."""

_TICK: Final = 0.001
"""Seconds: what the loop's clock counts in, and more than some answers take."""


class _Round(NamedTuple):
    """What a round brought: requests under way on average, answers a second, bytes a second."""

    level: float
    answers: float
    bytes: float

    def pays(self, other: "_Round") -> bool:
        """Say whether the throughput followed the level from the other round to this one."""
        gain = self.answers / other.answers
        if other.bytes:
            gain = max(gain, self.bytes / other.bytes)
        return gain - 1 >= _PAYS * (self.level / other.level - 1)


class AdaptiveLimit:
    """The limit of one upstream. It is told of every request that ended, and `limit` is what it
    thinks now.

    `share` is the number of processes that ask the same upstream, each for itself.
    """

    def __init__(self, share: int = 1) -> None:
        self._ceiling = max(1.0, CEILING // share)
        self._start = max(1.0, START // share)
        self.limit = self._start
        self._duration = 0.0
        self._answered = False
        self._refusals = 0
        self._credit = _CREDIT[0]
        self._cuts = 0
        self._cut_at = -math.inf
        self._proven = False
        self._refused_level = 0.0
        self._least = 0.0
        self._pause = 0.0
        self._shortest = math.inf
        self._learning = True
        self._held = 0
        self._base = 0.0
        self._reference: _Round | None = None
        self._trial: tuple[float, float] | None = None
        self._learn_anew(0.0)

    @property
    def slots(self) -> int:
        """How many requests may be under way."""
        return int(self.limit) if self.limit >= _SPACED else math.ceil(self.limit)

    @property
    def interval(self) -> float:
        """Seconds from one start to the next; 0 where the slots alone say enough."""
        if self.limit >= _SPACED or self.limit.is_integer():
            return 0.0
        return self._duration / self.limit

    @property
    def return_time(self) -> float:
        """Seconds in which as many requests as the limit come back after a pause: what one takes,
        or twice that while the limit is but a guess.
        """
        return self._duration if self._proven else 2 * self._duration

    def answered(self, started: float, now: float, size: int, running: int) -> None:
        """Take note of an answer with `size` bytes to one of `running` requests."""
        took = now - started
        self._note_duration(took)
        self._refusals = 0
        self._credit = min(_CREDIT[1], self._credit + 1 / _FORGIVEN)
        self._ends += 1
        self._took += took
        self._bytes += size
        if running >= 0.75 * self.limit:
            self._full += 1
            if self._learning:
                self.limit = min(self._ceiling, self.limit + _RISE)
        if self._ends >= self._needed:
            self._end_round(now)

    def refused(self, started: float, now: float, running: int, pause: float = 0.0) -> None:
        """Take note that one of `running` requests was refused, and that upstream asked for a
        pause.
        """
        if self._credit >= 1 and not pause:
            self._credit -= 1
            return
        self._refusals += 1
        self._duration = self._duration or max(now - started, _TICK)
        if self._refusals >= _DOWN:
            self.limit = self._start
            self._learn_anew(now)
        elif started < self._cut_at:
            self.limit = min(self.limit, max(running - 1.0, self._least))
            self._begin_round(now)
        else:
            self._cut(now, running, pause)

    def _note_duration(self, took: float) -> None:
        if self._answered:
            near = self._duration / 2 < took < 2 * self._duration
            self._duration += (took - self._duration) * _WEIGHT[not near]
            return
        took = max(took, _TICK)
        # Until now it was that of refusals, and what was learned below one is a time between
        # starts.
        if self._duration and self.limit < 1:
            self.limit = max(FLOOR, min(1.0, self.limit * took / self._duration))
        self._duration, self._answered = took, True

    def _cut(self, now: float, running: int, pause: float) -> None:
        self._cut_at, self._pause = now, pause
        self._proven = bool(self._base or self._held)
        self._trial = None
        level = min(self.limit, running)
        if self._base:
            self._fall_back()
            self._least = self.limit / 2
        else:
            in_a_row = pause and not (self._held or self._learning)
            self._cuts = self._cuts + 1 if in_a_row else 1
            doublings = max(self._refusals, self._cuts) - 1
            cut = _CUT * 2.0**doublings if doublings < _DOUBLINGS else 0.5
            if self._refusals == 1:
                self._refused_level = level
            self._least = 1.0 if self._learning else max(1.0, self.limit / 2)
            self.limit = max(level * (1 - cut), min(level, running - 1.0), FLOOR)
            self._hold = _HOLD[0]
        self._learning = False
        self._held = 0
        self._begin_round(now)

    def _learn_anew(self, now: float) -> None:
        self._learning = True
        self._refusals = self._strikes = self._held = 0
        self._base = 0.0
        self._step, self._hold = _STEP, _HOLD[0]
        self._reference = None
        self._trial = None
        self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        self._since = now
        self._ends = self._full = self._bytes = 0
        self._took = 0.0
        fewest = _ROUND if self.limit >= 1 else _ROUND // 4
        self._needed = max(fewest, self.slots if self._learning else 2 * self.slots)

    def _end_round(self, now: float) -> None:
        elapsed, took = max(now - self._since, _TICK), max(self._took, _TICK)
        self._shortest = min(self._shortest, took / self._ends)
        if 2 * self._full >= self._ends:
            found = _Round(took / elapsed, self._ends / elapsed, self._bytes / elapsed)
            if self._learning:
                self._learn(found)
            elif self._base:
                self._judge_probe(found)
            else:
                self._stay(found, now)
        self._begin_round(now)

    def _learn(self, found: _Round) -> None:
        reference = self._reference
        if reference is None or found.pays(reference):
            self._reference, self._strikes = found, 0
        else:
            self._strikes += 1
        if self._strikes == 2:
            # As many as would have been needed for this throughput before requests began to queue
            # up, and some more.
            assert reference is not None
            knee = reference.level * max(1.0, found.answers / reference.answers)
            self.limit = max(1.0, min(self.limit, 1.25 * knee))
        if self._strikes == 2 or self.limit >= self._ceiling:
            self._learning = False

    def _judge_probe(self, found: _Round) -> None:
        if self._step > _JUDGED and self._reference and not found.pays(self._reference):
            self._fall_back()
            return
        self._hold = _HOLD[0]
        self._probe(min(0.2, 2 * self._step))

    def _probe(self, step: float) -> None:
        if self._is_deep:
            step = min(1.0, math.sqrt(self._refused_level / self.limit) - 1)
        self._held, self._step = 0, step
        self._base = self.limit if self.limit < self._ceiling else 0.0
        self.limit = min(self._ceiling, self.limit * (1 + step))

    def _fall_back(self) -> None:
        self._refused_level = self.limit
        self.limit, self._base = self._base, 0.0
        self._held = 0
        self._hold = min(2 * self._hold, _HOLD[1])

    def _stay(self, found: _Round, now: float) -> None:
        self._reference = found
        if self._sinks(found):
            return
        self._held += 1
        # After a deep fall the way up is worth more than what a refusal costs.
        deep = self._is_deep
        rest = self._pause * _COST * (1 / 8 if deep else self._hold / _HOLD[0])
        if (deep or self._held >= self._hold) and now >= self._cut_at + rest:
            self._probe(_STEP)

    @property
    def _is_deep(self) -> bool:
        return self._refused_level > _FAR * self.limit

    def _sinks(self, found: _Round) -> bool:
        """Try with fewer where requests take twice as long as they once did, and go back if that
        brings less.
        """
        trial, self._trial = self._trial, None
        if trial is not None and found.answers < 0.9 * trial[1]:
            self.limit = trial[0]
            self._shortest = found.level / found.answers
            return True
        knee = found.answers * self._shortest
        target = max(0.8 * self.limit, 1.5 * knee)
        if found.level < 2 * knee or not 1 <= target < self.limit:
            return False
        self._trial = self.limit, found.answers
        self.limit = target
        return True


# The order in which those who wait for one upstream are let in. Pure.
#
# 1. The largest first: a large body that begins last is what all others have to be waited for.
# 2. Before them, what has no known size: metadata, on which everything else depends.
# 3. Every fourth turn is that of the one that has waited longest, so none waits for ever.
#
# A turn costs O(log n). One that leaves the line is only marked; what is marked goes when it comes
# to the front, or with the last who waits.

_FAIR: Final = 4

T = TypeVar("T")


class Ticket(Generic[T]):
    """The place of one who waits."""

    __slots__ = ("holder", "waiting")

    def __init__(self, holder: T) -> None:
        self.holder = holder
        self.waiting = True


class Line(Generic[T]):
    """Those who wait. True when there are any."""

    __slots__ = ("_by_age", "_by_size", "_count", "_joined", "_turn")

    def __init__(self) -> None:
        # Of the same size, first come, first served; tickets are never compared.
        self._by_size: list[tuple[float, int, Ticket[T]]] = []
        self._by_age: deque[Ticket[T]] = deque()
        self._count = 0
        self._joined = 0
        self._turn = 0

    def __len__(self) -> int:
        return self._count

    def join(self, holder: T, size: int | None) -> Ticket[T]:
        """Let `holder` wait for a body of `size` bytes, if that is known."""
        ticket = Ticket(holder)
        self._joined += 1
        self._count += 1
        rank = -math.inf if size is None else -size
        heapq.heappush(self._by_size, (rank, self._joined, ticket))
        self._by_age.append(ticket)
        return ticket

    def first(self) -> Ticket[T]:
        """Return whose turn it is. There must be one."""
        if self._turn % _FAIR == _FAIR - 1:
            while not self._by_age[0].waiting:
                self._by_age.popleft()
            return self._by_age[0]
        while not self._by_size[0][2].waiting:
            heapq.heappop(self._by_size)
        return self._by_size[0][2]

    def let_in(self, ticket: Ticket[T]) -> None:
        """Take out the one whose turn it is; the next turn is another one's."""
        self._turn += 1
        self.leave(ticket)

    def leave(self, ticket: Ticket[T]) -> None:
        """Take out one who waits, wherever it stands."""
        ticket.waiting = False
        self._count -= 1
        if not self._count:
            self._by_size.clear()
            self._by_age.clear()


# An account that keeps to so much a second. Pure: it says when, the caller does the waiting.
#
# Each piece that is taken moves the moment at which the account is level again by its size divided
# by the rate, so pieces are spaced evenly and nothing has to be refilled or looked at again. An
# account that lay idle lets a little more through at once, as much as its credit says.


class Spacing:
    """One account. Pieces of different rates may share it; each is booked at its own."""

    __slots__ = ("level_at",)

    def __init__(self) -> None:
        self.level_at = -math.inf
        """From when on the next piece may be taken."""

    def book(self, now: float, seconds: float, credit: float = 0.0) -> None:
        """Take a piece for which the rate grants `seconds`. What was left unused in the last
        `credit` seconds counts for it.
        """
        self.level_at = max(self.level_at, now - credit) + seconds


CREDIT: Final = 0.1
"""Seconds whose unused share of a rate may be used at once: timers come late, and that must not
lower the rate.
"""


class Gate:
    """What is known of one upstream: who runs there, what it takes, and until when it wants to be
    left alone.
    """

    __slots__ = (
        "_bytes",
        "_eased_until",
        "_learned",
        "_pace",
        "_paused_until",
        "_requests",
        "running",
    )

    def __init__(self, learned: AdaptiveLimit) -> None:
        self._learned = learned
        self.running = 0
        self._paused_until = -math.inf
        self._eased_until = -math.inf
        self._pace = Spacing()
        self._requests = Spacing()
        self._bytes = Spacing()

    @property
    def limit(self) -> float:
        """How many requests at a time this upstream is thought to take."""
        return self._learned.limit

    def opens_at(self, remote: Remote) -> float:
        """Return from when on a request of `remote` may start; infinity if another one must end
        first.
        """
        own = remote.download_concurrency
        if self.running >= (self._learned.slots if own is None else own):
            return math.inf
        opens = self._paused_until
        if own is None or self._pace.level_at <= self._eased_until:
            opens = max(opens, self._pace.level_at)
        if remote.rate_limit is not None:
            opens = max(opens, self._requests.level_at)
        if remote.bandwidth_limit is not None:
            opens = max(opens, self._bytes.level_at)
        return opens

    def start(self, now: float, remote: Remote) -> None:
        """Take note that a request of `remote` starts."""
        self.running += 1
        own = remote.download_concurrency
        if now < self._eased_until:
            self._pace.book(now, self._learned.return_time / (own or self._learned.limit))
        elif own is None:
            interval = self._learned.interval
            if interval:
                # With several slots, a start that came late because all were taken is made up for.
                self._pace.book(now, interval, interval if self._learned.slots > 1 else 0.0)
        if remote.rate_limit is not None:
            self._requests.book(now, 1 / remote.rate_limit, CREDIT)

    def read(self, now: float, count: int, bytes_a_second: int) -> float:
        """Take note of bytes that arrived, and return how many seconds to wait before more are
        read.
        """
        self._bytes.book(now, count / bytes_a_second, CREDIT)
        return self._bytes.level_at - now

    def answered(self, started: float, now: float, size: int) -> None:
        """Take note that upstream did what was asked, or said why not, with `size` bytes."""
        self._learned.answered(started, now, size, self.running)
        self.running -= 1

    def refused(self, started: float, now: float, pause: float) -> None:
        """Take note of an answer, or of none, that means overload; and of how long upstream wants
        to be left alone.
        """
        self._learned.refused(started, now, self.running, pause)
        self.running -= 1
        if pause:
            self._paused_until = max(self._paused_until, now + pause)
            self._eased_until = self._paused_until + self._learned.return_time

    def left(self) -> None:
        """Take note that a request ended for a reason that says nothing of upstream."""
        self.running -= 1
