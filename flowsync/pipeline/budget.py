"""A budget of bytes and items for what is in flight between two stages, given out as leases.

1. A lease is given back exactly once: by `release`, or when it is forgotten with its item. What is given back is what was taken, so the account
   cannot drift.
2. Either limit may be missing. With neither, nothing ever waits, but the account is kept.
3. When nothing is in flight, a lease is always granted: one oversized item passes alone and cannot block the pipeline.
4. Whoever must wait raises `pressure`, so that the stage at the far end releases its batch early; a release lowers it.
5. Waiters are served in the order in which they came.
"""

import asyncio
from collections import deque

from flowsync.model.errors import PipelineError
from flowsync.pipeline.signal import Signal


class Lease:
    """A share of a budget, held by the item it was taken for."""

    __slots__ = ("_budget", "items", "size")

    def __init__(self, budget: "Budget", size: int, items: int) -> None:
        self._budget: Budget | None = budget
        self.size = size
        self.items = items

    def release(self) -> None:
        """Give the share back; a second call does nothing."""
        budget, self._budget = self._budget, None
        if budget is not None:
            budget._give_back(self.size, self.items)

    def __del__(self) -> None:
        # An item that was dropped on the way would otherwise keep its share for ever.
        self.release()


class Budget:
    """What may be in flight at a time, in bytes and in items; `None` means no limit. Belongs to one loop."""

    def __init__(self, *, size: int | None = None, items: int | None = None) -> None:
        if (size is not None and size < 0) or (items is not None and items < 0):
            raise PipelineError(f"a budget cannot be negative, found size={size}, items={items}")
        self._size_limit = size
        self._item_limit = items
        self._waiters: deque[tuple[asyncio.Future[None], int, int]] = deque()
        self.size_in_flight = 0
        self.items_in_flight = 0
        self.pressure = Signal()

    async def acquire(self, size: int, items: int = 1) -> Lease:
        """Take a share, waiting until it fits or nothing else is in flight. An unknown size counts as 0 bytes."""
        if self._waiters or not self._fits(size, items):
            await self._wait(size, items)
        else:
            self._take(size, items)
        return Lease(self, size, items)

    def _fits(self, size: int, items: int) -> bool:
        if self.items_in_flight == 0:
            return True
        return (self._size_limit is None or self.size_in_flight + size <= self._size_limit) and (
            self._item_limit is None or self.items_in_flight + items <= self._item_limit
        )

    def _take(self, size: int, items: int) -> None:
        self.size_in_flight += size
        self.items_in_flight += items

    async def _wait(self, size: int, items: int) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (granted, size, items)
        self._waiters.append(entry)
        self.pressure.set()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._waiters.remove(entry)
                self._serve()
            else:
                self._give_back(size, items)
            raise

    def _give_back(self, size: int, items: int) -> None:
        self.size_in_flight -= size
        self.items_in_flight -= items
        self._serve()

    def _serve(self) -> None:
        while self._waiters:
            granted, size, items = self._waiters[0]
            if not self._fits(size, items):
                return
            self._waiters.popleft()
            if not granted.done():
                self._take(size, items)
                granted.set_result(None)
        self.pressure.clear()
