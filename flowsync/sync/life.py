"""Signs of life of a sync: whether it receives anything, told from what its pipeline, its counters and the fetcher know already.

A sync without one for a while is quiet. How long that is depends on what it does: an upstream that has not answered its first request says more than
a pause between two files, and a stage that works on what it has may do so for a while.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from flowsync.download.limits import Traffic

UNANSWERED: Final = 0.05
"""Seconds that a first request may go without an answer, while the loop has time to notice one."""

PAUSE: Final = 1.0
"""Seconds without a sign of a sync that waits for upstream, for its repository, or for what cannot be known."""

WORK: Final = 5.0
"""Seconds without a sign of a sync one of whose stages works on what it has."""


class Life:
    """What is known of one sync. `answered` says whether anything came to it yet."""

    def __init__(self, now: float) -> None:
        self.answered = False
        self._now = now
        self._since = now
        self._count: Callable[[], int] | None = None
        self._is_idle: Callable[[], bool] = lambda: True
        self._remotes: Collection[str] = ()
        self._last: tuple[int, int] | None = None

    @contextmanager
    def watched(
        self, count: Callable[[], int], is_idle: Callable[[], bool], remotes: Collection[str]
    ) -> Iterator[None]:
        """Look, while the block runs, at a count that grows with what the sync does, whether its stages only wait, and the traffic of its remotes."""
        self._count, self._is_idle, self._remotes = count, is_idle, remotes
        self._last = (count(), 0)
        try:
            yield
        finally:
            self._count, self._is_idle = None, lambda: False

    def is_quiet(self, now: float, traffic: Mapping[str, Traffic], *, busy: bool) -> bool:
        """Say whether no sign has come for as long as to be quiet. `busy` says whether the loop had other things to do since the last look."""
        own = [traffic[name] for name in self._remotes if name in traffic]
        if self._count is not None:
            found = (self._count(), sum(each.taken for each in own))
            if found != self._last:
                self.answered = True
                self._last, self._since = found, now
        asked = min((each.since for each in own), default=math.inf)
        if not self.answered and not busy and now - asked >= UNANSWERED:
            return True
        return now - self._since >= (PAUSE if self._is_idle() else WORK)
