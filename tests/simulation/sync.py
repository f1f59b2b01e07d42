"""A sync that fetches from a simulated upstream: the product's own gate, line and waits between
tries, with virtual time in place of a loop.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from flowsync.download.fetcher import Backoff
from flowsync.download.pacing.gate import AdaptiveLimit, Gate, Line
from flowsync.model.remote import Remote
from tests.simulation.origins import Origin, World

WINDOW: Final = 200
"""Contents in work at a time, as in a sync."""


class Outcome(msgspec.Struct):
    """What came of a run. `failed` are requests that were given up after all tries, `refused`
    single tries.
    """

    seconds: float = 0.0
    served: int = 0
    failed: int = 0
    refused: int = 0
    peak: int = 0
    limit: float = 0.0
    handed_out: float = 0.0
    served_then: int = 0

    @property
    def throughput(self) -> float:
        """Bodies a second until the last one was handed out: what comes after is the wait for
        single ones.
        """
        return self.served_then / self.handed_out


class Wanted(msgspec.Struct):
    """One body, and how often it was asked for in vain."""

    size: int
    failures: int = 0


def simulate(
    origin: Origin,
    sizes: Sequence[int],
    fixed: int | None = None,
    *,
    largest_first: bool = True,
    seed: int = 1,
) -> Outcome:
    """Fetch bodies of these sizes, with a fixed number of requests at a time or an adaptive one,
    the largest or the first declared first, with the chance of this seed.
    """
    remote = Remote(name="r", url="http://r/", download_concurrency=fixed)
    return _Run(origin, sizes, remote, World(seed), largest_first=largest_first).result()


def bodies(count: int, seed: int = 1) -> list[int]:
    """Return sizes as repositories have them: 5 kB in the middle, few very large."""
    chance = random.Random(seed)
    return [min(int(chance.lognormvariate(8.5, 1.2)), 400_000) for _ in range(count)]


class _Run:
    def __init__(
        self,
        origin: Origin,
        sizes: Sequence[int],
        remote: Remote,
        world: World,
        *,
        largest_first: bool,
    ) -> None:
        self._world = world
        self._origin = origin
        self._left = [Wanted(size) for size in reversed(sizes)]
        self._remote = remote
        self._largest_first = largest_first
        self._gate = Gate(AdaptiveLimit())
        self._line: Line[Wanted] = Line()
        self._backoff = Backoff()
        self._alarm = math.inf
        self._outcome = Outcome()
        for _ in range(min(WINDOW, len(sizes))):
            self._hand_out()

    def result(self) -> Outcome:
        self._let_in()
        self._world.run()
        self._outcome.limit = self._gate.limit
        return self._outcome

    def _hand_out(self) -> None:
        if self._left:
            self._outcome.handed_out = self._world.now
            self._outcome.served_then = self._outcome.served
            self._wait_for(self._left.pop())

    def _wait_for(self, wanted: Wanted) -> None:
        # What has no known size keeps its order.
        self._line.join(wanted, wanted.size if self._largest_first else None)

    def _let_in(self) -> None:
        while self._line:
            opens_at = self._gate.opens_at(self._remote)
            if opens_at > self._world.now:
                self._look_again(opens_at)
                return
            ticket = self._line.first()
            self._line.let_in(ticket)
            self._start(ticket.holder)

    def _look_again(self, when: float) -> None:
        if when < self._alarm:
            self._alarm = when
            self._world.after(when - self._world.now, self._ring)

    def _ring(self) -> None:
        self._alarm = math.inf
        self._let_in()

    def _start(self, wanted: Wanted) -> None:
        started = self._world.now
        self._gate.start(started, self._remote)
        self._outcome.peak = max(self._outcome.peak, self._gate.running)

        def reply(refused: bool, retry_after: float) -> None:
            if refused:
                self._outcome.refused += 1
                self._gate.refused(started, self._world.now, retry_after)
                self._fail(wanted, retry_after)
            else:
                self._gate.answered(started, self._world.now, wanted.size)
                self._outcome.served += 1
                self._outcome.seconds = self._world.now
                self._hand_out()
            self._let_in()

        self._origin.take(self._world, wanted.size, reply)

    def _fail(self, wanted: Wanted, retry_after: float) -> None:
        wanted.failures += 1
        if wanted.failures > self._remote.max_retries:
            self._outcome.failed += 1
            self._hand_out()
            return

        def again() -> None:
            self._wait_for(wanted)
            self._let_in()

        # The jitter of `Backoff.wait`, drawn from this world's chance.
        most = self._backoff.base * 2.0 ** (wanted.failures - 1)
        jitter = self._world.random.uniform(0, min(self._backoff.cap, most))
        self._world.after(jitter + min(retry_after, self._backoff.patience), again)


Make = Callable[[], Origin]
"""Makes a fresh upstream for each run."""
