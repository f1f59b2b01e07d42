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
"""

import math
from typing import Final

from flowsync.download.pacing.adaptive_limit import AdaptiveLimit
from flowsync.download.pacing.rate import Spacing
from flowsync.model.remote import Remote

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
