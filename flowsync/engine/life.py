"""Signs of life of a sync: whether it receives anything, told from what its pipeline, its counters
and the fetcher know already.

A sync without one for a while is quiet. How long that is depends on what it does: an upstream that
has not answered its first request says more than a pause between two files, and a stage that works
on what it has may do so for a while.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from flowsync.download.pacing.host_limits import Traffic

UNANSWERED: Final = 0.05
"""Seconds that a first request may go without an answer, while the loop has time to notice one."""

LEAST: Final = 1024
"""Bytes that are a sign of life, unless an item comes: an upstream that sends a byte a second says
no more than one that is silent.
"""

PAUSE: Final = 1.0
"""Seconds without a sign of a sync that waits for upstream, for its repository, or for what cannot
be known.
"""

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
        """Look, while the block runs, at a count that grows with what the sync does, whether its
        stages only wait, and the traffic of its remotes.
        """
        self._count, self._is_idle, self._remotes = count, is_idle, remotes
        before = count()
        self._last = (before, 0)
        try:
            yield
        finally:
            # A short sync ends between two looks.
            self.answered = self.answered or before != count()
            self._count, self._is_idle = None, lambda: False

    def is_quiet(self, now: float, traffic: Mapping[str, Traffic], *, busy: bool) -> bool:
        """Say whether no sign has come for as long as to be quiet. `busy` says whether the loop had
        other things to do since the last look.
        """
        own = [traffic[name] for name in self._remotes if name in traffic]
        if self._count is not None:
            found = (self._count(), sum(each.taken for each in own))
            if self._last is None or is_sign(self._last, found):
                self.answered = True
                self._last, self._since = found, now
        asked = min((each.since for each in own), default=math.inf)
        if not self.answered and not busy and now - asked >= UNANSWERED:
            return True
        return now - self._since >= (PAUSE if self._is_idle() else WORK)


def is_sign(last: tuple[int, int], found: tuple[int, int]) -> bool:
    """Say whether there is life in what was counted: items, and bytes of the downloads that are
    under way. Fewer bytes say that one has ended.
    """
    return found[0] != last[0] or not last[1] <= found[1] < last[1] + LEAST
