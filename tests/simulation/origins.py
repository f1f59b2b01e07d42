"""Upstreams of hidden capacity, in virtual time: no sockets, no clock, and the same in
every run.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

ROUND_TRIP: Final = 0.02

Reply = Callable[[bool, float], None]
"""Takes the answer: whether it is a refusal, and the seconds of its `Retry-After`, or 0."""


class World:
    """Virtual time, what is to happen in it, and chance."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), act))

    def run(self) -> None:
        while self._events:
            self.now, _, act = heapq.heappop(self._events)
            act()

    def vary(self, mean: float) -> float:
        """Return a time that differs from `mean` by a fifth at most."""
        return mean * self.random.uniform(0.8, 1.2)


class Origin(Protocol):
    """One upstream. Serves one run."""

    def take(self, world: World, size: int, reply: Reply) -> None:
        """Take a request for a body of `size` bytes, and reply some time later."""


class Queueing:
    """So many servers; who finds none free waits."""

    def __init__(self, servers: int, service: float) -> None:
        self._free = servers
        self._service = service
        self._waiting: deque[Reply] = deque()

    def take(self, world: World, size: int, reply: Reply) -> None:
        world.after(ROUND_TRIP, lambda: self._arrive(world, reply))

    def _arrive(self, world: World, reply: Reply) -> None:
        if self._free:
            self._free -= 1
            self._serve(world, reply)
        else:
            self._waiting.append(reply)

    def _serve(self, world: World, reply: Reply) -> None:
        def done() -> None:
            reply(False, 0.0)
            if self._waiting:
                self._serve(world, self._waiting.popleft())
            else:
                self._free += 1

        world.after(world.vary(self._service), done)


class Slow:
    """A long way with little throughput a connection, for as many connections as wanted; `flaw` is
    the part of requests that fail by chance.
    """

    def __init__(self, latency: float, bytes_a_second: float = 1e9, flaw: float = 0.0) -> None:
        self._latency = latency
        self._speed = bytes_a_second
        self._flaw = flaw

    def take(self, world: World, size: int, reply: Reply) -> None:
        flawed = world.random.random() < self._flaw
        seconds = world.vary(self._latency) + size / self._speed
        world.after(seconds, lambda: reply(flawed, 0.0))


class Refusing:
    """Refuses what comes while so many are being served."""

    def __init__(self, most: int, service: float, retry_after: float = 0.0) -> None:
        self._free = most
        self._service = service
        self._retry_after = retry_after

    def take(self, world: World, size: int, reply: Reply) -> None:
        world.after(ROUND_TRIP / 2, lambda: self._arrive(world, reply))

    def _arrive(self, world: World, reply: Reply) -> None:
        if not self._free:
            world.after(ROUND_TRIP / 2, lambda: reply(True, self._retry_after))
            return
        self._free -= 1

        def done() -> None:
            self._free += 1
            world.after(ROUND_TRIP / 2, lambda: reply(False, 0.0))

        world.after(world.vary(self._service), done)


class Metered:
    """Refuses what comes faster than so many a second; `burst` may come at once after a rest."""

    def __init__(self, rate: float, burst: int, service: float, retry_after: float = 0.0) -> None:
        self.rate = rate
        self._burst = burst
        self._service = service
        self._retry_after = retry_after
        self._tokens = float(burst)
        self._since = 0.0

    def take(self, world: World, size: int, reply: Reply) -> None:
        self._tokens = min(self._burst, self._tokens + (world.now - self._since) * self.rate)
        self._since = world.now
        if self._tokens < 1:
            world.after(ROUND_TRIP, lambda: reply(True, self._retry_after))
        else:
            self._tokens -= 1
            world.after(world.vary(self._service), lambda: reply(False, 0.0))


class Shared:
    """So many bytes a second, divided evenly among the bodies that are under way."""

    def __init__(self, bytes_a_second: float) -> None:
        self._speed = bytes_a_second
        self._sent = 0.0
        self._since = 0.0
        self._plans = 0
        self._bodies: list[tuple[float, int, Reply]] = []
        self._numbers = itertools.count()

    def take(self, world: World, size: int, reply: Reply) -> None:
        world.after(ROUND_TRIP, lambda: self._arrive(world, size, reply))

    def _arrive(self, world: World, size: int, reply: Reply) -> None:
        self._send(world)
        heapq.heappush(self._bodies, (self._sent + size, next(self._numbers), reply))
        self._plan(world)

    def _send(self, world: World) -> None:
        """Count what each body has been sent since the last time."""
        if self._bodies:
            self._sent += (world.now - self._since) * self._speed / len(self._bodies)
        self._since = world.now

    def _plan(self, world: World) -> None:
        """Await the end of the body that will be whole first; whatever was awaited before does not
        count any more.
        """
        self._plans += 1
        plan = self._plans
        if not self._bodies:
            return

        def done() -> None:
            if plan == self._plans:
                self._send(world)
                _, _, reply = heapq.heappop(self._bodies)
                reply(False, 0.0)
                self._plan(world)

        left = max(0.0, self._bodies[0][0] - self._sent)
        world.after(left * len(self._bodies) / self._speed, done)
