"""A budget of bytes and items for what is in flight between two stages, given out as leases.

1. A lease is given back exactly once: by `release`, when it is forgotten with its item, or when the
   account of its run is closed, whatever comes first. What is given back is what was taken, so the
   books cannot drift.
2. Either limit may be missing. With neither, nothing ever waits, but the books are kept.
3. When nothing is in flight, a lease is always granted: one oversized item passes alone and cannot
   block the pipeline.
4. While a task waits there is `pressure`, so that the stage at the far end releases its batches
   early.
5. While one run is `relieving` it, the far end of another may gather more instead, until the `lull`
   that follows.
6. Waiters are served in the order in which they came.

A task that needs several leases before it can give back any of them must take them as one: two
half-served takers would wait for each other.

Decisions: docs/decisions/0006.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import Protocol, Self

from flowsync.errors import PipelineError
from flowsync.runtime.tasks import Signal


class _Lender(Protocol):
    def _give_back(self, size: int, items: int) -> None: ...

    def _reclaim(self, size: int, items: int) -> None: ...


class Lease:
    """A share of a budget, held by the item it was taken for."""

    __slots__ = ("_lender", "items", "size")

    def __init__(self, lender: _Lender, size: int, items: int) -> None:
        self._lender: _Lender | None = lender
        self.size = size
        self.items = items

    def release(self) -> None:
        """Give the share back; a second call does nothing."""
        lender, self._lender = self._lender, None
        if lender is not None:
            lender._give_back(self.size, self.items)

    def __del__(self) -> None:
        # An item that was dropped on the way would otherwise keep its share for ever.
        if self._lender is not None:
            self._lender._reclaim(self.size, self.items)


class Budget:
    """What may be in flight at a time, in bytes and in items; `None` means no limit. Belongs to one
    loop.
    """

    def __init__(self, *, size: int | None = None, items: int | None = None) -> None:
        if (size is not None and size < 0) or (items is not None and items < 0):
            raise PipelineError(f"a budget cannot be negative, found size={size}, items={items}")
        self._size_limit = size
        self._item_limit = items
        self._waiters: deque[tuple[asyncio.Future[None], int, int]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.size_in_flight = 0
        self.items_in_flight = 0
        self.pressure = Signal()
        self.lull = Signal()
        self.lull.set()
        self._relievers = 0

    async def acquire(self, size: int, items: int = 1) -> Lease:
        """Take a share, waiting until it fits or nothing else is in flight. An unknown size counts
        as 0 bytes.
        """
        await self._grant(size, items)
        return Lease(self, size, items)

    def account(self) -> "Account":
        """Return a way to take leases that all end with its block."""
        return Account(self)

    @contextmanager
    def relieving(self) -> Iterator[None]:
        """Tell that leases are about to be given back, unless the block fails."""
        self._relievers += 1
        self.lull.clear()
        try:
            yield
        finally:
            self._relievers -= 1
            if not self._relievers:
                self.lull.set()

    def waits_for_relief(self) -> bool:
        """Say whether a task waits for a share while others are about to give theirs back."""
        return bool(self.pressure) and self._relievers > 0

    def _grant_now(self, size: int, items: int) -> bool:
        """Take a share if it fits and nothing waits; say whether that worked."""
        if self._waiters or not self._fits(size, items):
            return False
        self._take(size, items)
        return True

    async def _grant(self, size: int, items: int) -> None:
        if size < 0 or items < 1:
            raise PipelineError(f"a lease of {size} bytes and {items} items cannot be")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        if not self._grant_now(size, items):
            await self._wait(size, items)

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
        except BaseException:
            if granted.done() and not granted.cancelled():
                # Granted in the moment in which the waiter was cancelled.
                self._give_back(size, items)
            else:
                with suppress(ValueError):  # a release may have met the cancelled waiter first
                    self._waiters.remove(entry)
                self._serve()
            raise

    def _give_back(self, size: int, items: int) -> None:
        self.size_in_flight -= size
        self.items_in_flight -= items
        self._serve()

    def _reclaim(self, size: int, items: int) -> None:
        self._call_soon(self._give_back, size, items)

    def _call_soon(self, give_back: Callable[[int, int], None], size: int, items: int) -> None:
        # Comes from the garbage collector: in any thread, and in the middle of anything.
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nothing waits any more
                self._loop.call_soon_threadsafe(give_back, size, items)

    def _serve(self) -> None:
        while self._waiters:
            granted, size, items = self._waiters[0]
            if not granted.done():
                if not self._fits(size, items):
                    return
                self._take(size, items)
                granted.set_result(None)
            self._waiters.popleft()
        self.pressure.clear()


class Account:
    """What one run holds of a budget. As a context, it gives back at its end whatever leases are
    still out.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._open = True
        self._size = 0
        self._items = 0

    @property
    def pressure(self) -> Signal:
        """The budget's: it does not matter which run waits."""
        return self._budget.pressure

    @property
    def lull(self) -> Signal:
        """The budget's: set while no run is about to give anything back."""
        return self._budget.lull

    def relieving(self) -> AbstractContextManager[None]:
        """Tell that leases are about to be given back, as `Budget.relieving` does."""
        return self._budget.relieving()

    async def acquire(self, size: int, items: int = 1) -> Lease:
        """Take a share as `Budget.acquire` does. Raise `PipelineError` when the account is
        closed.
        """
        await self._budget._grant(size, items)
        if not self._open:
            self._budget._give_back(size, items)
            raise PipelineError("a lease was taken by a task that its run had left behind")
        return self._lend(size, items)

    def offer(self, size: int, items: int = 1) -> Lease | None:
        """Take a share without waiting, or return `None` when it does not fit, or when others wait
        for theirs.
        """
        if not self._open or not self._budget._grant_now(size, items):
            return None
        return self._lend(size, items)

    def _lend(self, size: int, items: int) -> Lease:
        self._size += size
        self._items += items
        return Lease(self, size, items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open = False
        if self._items:
            self._budget._give_back(self._size, self._items)

    def _give_back(self, size: int, items: int) -> None:
        if self._open:
            self._size -= size
            self._items -= items
            self._budget._give_back(size, items)

    def _reclaim(self, size: int, items: int) -> None:
        self._budget._call_soon(self._give_back, size, items)
