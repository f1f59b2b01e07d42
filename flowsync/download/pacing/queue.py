"""The order in which those who wait for one upstream are let in. Pure.

1. The largest first: a large body that begins last is what all others have to be waited for.
2. Before them, what has no known size: metadata, on which everything else depends.
3. Every fourth turn is that of whoever has waited longest, so nobody waits for ever.

A turn costs O(log n). Whoever leaves the line is only marked; what is marked goes when it comes to
the front, or with the last who waits.
"""

import heapq
import math
from collections import deque
from typing import Final, Generic, TypeVar

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
