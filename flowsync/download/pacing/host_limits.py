"""Who may ask which upstream when, over all runs of an engine: the waiting that `gate` and `line`
decide about.

An upstream is a scheme, a host and a port. A request is let in when the gate is open for its
remote; those that wait are let in in the order of the line. The next one holds up all behind it,
so the most modest remote in the line counts, and none starves.

A slot is held for one try only: a task that backs off, or hashes, holds none. How the try ended is
what the gate learns from.
"""

import asyncio
import math
from types import TracebackType
from typing import Final, Self

import msgspec

from flowsync.download.pacing.gate import AdaptiveLimit, Gate, Line
from flowsync.download.transfer.attempt import Tally
from flowsync.errors import (
    BrokenBodyError,
    CertificateError,
    IntegrityError,
    RefusedAnswerError,
    StatusError,
    TransferError,
    TransferTimeoutError,
    UnreachableError,
)
from flowsync.model.remote import FetchRequest, Remote
from flowsync.model.url import Origin
from flowsync.runtime import descriptors

_GRAIN: Final = 0.001
"""Seconds by which timers of the loop may come early."""

_OVERLOAD: Final = (UnreachableError, BrokenBodyError, TransferTimeoutError)


class Traffic(msgspec.Struct, frozen=True):
    """What is under way for one remote: bytes that came in the present tries, and when the first of
    these began, in the loop's time.
    """

    taken: int
    since: float


class HostLimits:
    """The slots of all upstreams. One instance an engine; used from one loop.

    `patience` bounds the pauses that upstreams ask for, in seconds. `share` is the number of
    processes that divide what an upstream takes. All upstreams together get as many requests at a
    time as the process has descriptors for.
    """

    def __init__(self, patience: float, share: int = 1) -> None:
        self._patience = patience
        self._share = share
        self._room = asyncio.Semaphore(descriptors.downloads())
        self._hosts: dict[Origin, _Host] = {}

    def slot(self, origin: Origin, request: FetchRequest, tally: Tally) -> "Slot":
        """Return a context that is entered when a try at `request` may be made at `origin`, and
        left when it ended. `tally` counts its bytes.
        """
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = _Host(Gate(AdaptiveLimit(self._share)))
        return Slot(host, request, tally, self._patience, self._room)

    def traffic(self) -> dict[str, Traffic]:
        """Return what is under way now, by the names of the remotes."""
        found: dict[str, Traffic] = {}
        for host in self._hosts.values():
            for slot in host.slots:
                slot.add_to(found)
        return found


class _Host:
    """One upstream: its gate, who waits before it, and when to look again."""

    __slots__ = ("_alarm", "_alarm_at", "gate", "line", "loop", "slots")

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.line: Line[tuple[Remote, asyncio.Future[None]]] = Line()
        self.loop = asyncio.get_running_loop()
        self.slots: set[Slot] = set()
        self._alarm: asyncio.Handle | None = None
        self._alarm_at = 0.0

    def let_in(self, now: float) -> None:
        """Start those whose turn it is as long as the gate is open. A task that was cancelled
        meanwhile steps out.
        """
        while self.line:
            ticket = self.line.first()
            remote, turn = ticket.holder
            if turn.done():
                self.line.leave(ticket)
                continue
            opens_at = self.gate.opens_at(remote)
            if opens_at > now + _GRAIN:
                self._look_again(opens_at)
                return
            self.line.let_in(ticket)
            self.gate.start(now, remote)
            turn.set_result(None)

    def _look_again(self, when: float) -> None:
        # Where another request must end first, its end is the sign.
        if when == math.inf:
            return
        if self._alarm is not None:
            if self._alarm_at <= when:
                return
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self.loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self.let_in(self.loop.time())


class Slot:
    """The right to make one try. Made by `HostLimits`, used by one task."""

    __slots__ = ("_before", "_host", "_patience", "_request", "_room", "_started", "_tally")

    def __init__(
        self,
        host: _Host,
        request: FetchRequest,
        tally: Tally,
        patience: float,
        room: asyncio.Semaphore,
    ) -> None:
        self._host = host
        self._room = room
        self._request = request
        self._tally = tally
        self._patience = patience
        self._before = 0
        self._started = 0.0

    async def read(self, count: int, *, last: bool) -> None:
        """Take note of bytes that arrived, and wait until the remote's rate allows more. After the
        `last` ones the next request waits instead.
        """
        limit = self._request.remote.bandwidth_limit
        if limit is not None:
            wait = self._host.gate.read(self._host.loop.time(), count, limit)
            if wait > 0 and not last:
                await asyncio.sleep(wait)

    async def __aenter__(self) -> Self:
        host, remote = self._host, self._request.remote
        now = host.loop.time()
        if host.line or host.gate.opens_at(remote) > now + _GRAIN:
            await self._wait(remote)
        else:
            host.gate.start(now, remote)
        try:
            await self._room.acquire()
        except BaseException:
            host.gate.left()
            host.let_in(host.loop.time())
            raise
        now = host.loop.time()
        self._before = self._tally.taken
        self._started = now
        host.slots.add(self)
        return self

    def add_to(self, traffic: dict[str, Traffic]) -> None:
        """Add this try to those of its remote."""
        name, taken, since = self._request.remote.name, self._tally.taken, self._started
        other = traffic.get(name)
        if other is not None:
            taken, since = taken + other.taken, min(since, other.since)
        traffic[name] = Traffic(taken, since)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._room.release()
        host = self._host
        host.slots.discard(self)
        now = host.loop.time()
        if error is None or _tells_of_answer(error):
            # A body that began anew may have fewer bytes than before.
            size = max(0, self._tally.taken - self._before)
            host.gate.answered(self._started, now, size)
        elif _tells_of_overload(error):
            host.gate.refused(self._started, now, self._pause(error))
        else:
            host.gate.left()
        host.let_in(now)

    async def _wait(self, remote: Remote) -> None:
        host = self._host
        turn = host.loop.create_future()
        ticket = host.line.join((remote, turn), self._request.size)
        host.let_in(host.loop.time())
        try:
            await turn
        except BaseException:
            # Two cases: the turn had come in the same instant and is handed on; or it had not, and
            # those behind may be let in now.
            if turn.done() and not turn.cancelled():
                host.gate.left()
            elif ticket.waiting:
                host.line.leave(ticket)
            host.let_in(host.loop.time())
            raise

    def _pause(self, error: BaseException) -> float:
        if not isinstance(error, StatusError) or error.status not in {429, 503}:
            return 0.0
        return min(error.retry_after or 0.0, self._patience)


def _tells_of_answer(error: BaseException) -> bool:
    """Say whether upstream answered, even if not what was wanted."""
    if isinstance(error, StatusError):
        return not _tells_of_overload(error)
    return isinstance(error, CertificateError | IntegrityError | RefusedAnswerError) or (
        isinstance(error, TransferError) and not isinstance(error, _OVERLOAD)
    )


def _tells_of_overload(error: BaseException) -> bool:
    if isinstance(error, StatusError):
        return error.status == 429 or error.status >= 500
    return isinstance(error, _OVERLOAD)
