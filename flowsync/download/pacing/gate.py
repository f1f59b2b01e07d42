"""When the next request to one upstream may start. Pure: times come as arguments, the waiting is
done elsewhere.

1. Fewer requests run than the limit of the next one's remote allows: its own number, or what was
   learned of the upstream (`adaptive`).
2. A remote's rate of requests is kept by spacing their starts, its rate of bytes by letting nothing
   start while bytes are ahead of it. All remotes with a rate share one account, in which each
   request counts by its own remote's rate.
3. When upstream answers 429 or 503 with `Retry-After`, nothing starts until then. After that
   requests come back one by one, spaced as they are where all goes well. What runs meanwhile goes
   on.

Decisions: docs/decisions/0013.

The order in which those who wait for one upstream are let in. Pure.

1. The largest first: a large body that begins last is what all others have to be waited for.
2. Before them, what has no known size: metadata, on which everything else depends.
3. Every fourth turn is that of whoever has waited longest, so nobody waits for ever.

A turn costs O(log n). Whoever leaves the line is only marked; what is marked goes when it comes to
the front, or with the last who waits.

An account that keeps to so much a second. Pure: it says when, whoever asks does the waiting.

Each piece that is taken moves the moment at which the account is level again by its size divided by
the rate, so pieces are spaced evenly and nothing has to be refilled or looked at again. An account
that lay idle lets a little more through at once, as much as its credit says.
"""

import heapq
import math
from collections import deque
from typing import Final, Generic, TypeVar

from flowsync.download.pacing.adaptive_limit import AdaptiveLimit
from flowsync.model.remote import Remote

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
        # Of the same size, whoever came first; tickets are never compared.
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
        """Return whose turn it is. There must be someone."""
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
