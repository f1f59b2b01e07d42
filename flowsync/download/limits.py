"""How many requests one upstream gets at a time, over all runs of an engine.

An upstream is a scheme, a host and a port. A request is let in when fewer run there than its own remote allows. Those that wait are let in strictly
in order, so the most modest remote in the line counts for all behind it, and nobody starves.

A slot is held for one try only: whoever backs off, or hashes, holds none.
"""

import asyncio
from collections import deque
from types import TracebackType

from flowsync.model.url import Origin


class HostLimits:
    """The slots of all upstreams. One instance an engine; used from one loop."""

    def __init__(self) -> None:
        self._lines: dict[Origin, _Line] = {}

    def slot(self, origin: Origin, limit: int) -> "_Slot":
        """Return a context that is entered when fewer than `limit` requests run at `origin`."""
        line = self._lines.get(origin)
        if line is None:
            line = self._lines[origin] = _Line()
        return _Slot(line, limit)


class _Line:
    """One upstream: how many requests run, and who waits with which limit."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def let_in(self) -> None:
        """Start those at the head of the line whose limit has room. Whoever was cancelled meanwhile steps out."""
        while self.waiting:
            limit, turn = self.waiting[0]
            if not turn.done():
                if self.running >= limit:
                    return
                self.running += 1
                turn.set_result(None)
            self.waiting.popleft()


class _Slot:
    __slots__ = ("_limit", "_line")

    def __init__(self, line: _Line, limit: int) -> None:
        self._line = line
        self._limit = limit

    async def __aenter__(self) -> None:
        line = self._line
        if not line.waiting and line.running < self._limit:
            line.running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        line.waiting.append((self._limit, turn))
        try:
            await turn
        except BaseException:
            # Two cases: the turn had come in the same instant and is handed on; or it had not, and those behind may be let in now.
            if turn.done() and not turn.cancelled():
                line.running -= 1
            line.let_in()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._line.running -= 1
        self._line.let_in()
