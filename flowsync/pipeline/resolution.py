"""Awaiting what becomes of an item: the wire that runs backwards from the end of a pipeline to its beginning.

1. All who await one item share a future, each behind a shield: a waiter that is cancelled or times out harms nobody.
2. An item that is awaited before it enters a buffer says so (`awaited`), one that is awaited inside a buffer wakes it (`arm`); either way
   the batch is released at once, so that nobody waits for a batch to fill which only they could fill.
3. When a pipeline ends, well or badly, whoever still awaits an item of it gets an error instead of waiting for ever.
4. After `resolve`, an item is like any other: stages behind the resolver batch it normally.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from flowsync.model.errors import ItemDroppedError


class Waiting:
    """The items of one pipeline that somebody awaits; empty most of the time, whatever the number of items."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[int, Resolvable] = {}

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: "Resolvable") -> None:
        """Remember that somebody awaits `item`."""
        self._items[id(item)] = item

    def discard(self, item: "Resolvable") -> None:
        """Forget `item`: it has an outcome."""
        self._items.pop(id(item), None)

    def describe(self) -> str:
        """Name a few of the awaited items for an error."""
        shown = [str(item) for item in list(self._items.values())[:3]]
        more = len(self._items) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more else "")

    def fail_all(self, cause: BaseException | None) -> None:
        """Give everyone who still waits an `ItemDroppedError`, caused by what ended the pipeline."""
        for item in list(self._items.values()):
            reason = "no stage resolved it" if cause is None else f"the pipeline failed: {cause}"
            error = ItemDroppedError(f"{item} will never be resolved: {reason}")
            error.__cause__ = cause
            item.fail(error)


class Resolvable:
    """An item that others may await. Subclasses say in `outcome` what the waiters get."""

    __slots__ = ("_future", "_resolved", "_waiting", "_wake")

    def __init__(self) -> None:
        self._future: asyncio.Future[Any] | None = None
        self._resolved = False
        self._waiting: Waiting | None = None
        self._wake: Callable[[], None] | None = None

    def outcome(self) -> Any:
        """Return what waiters get: by default the item itself."""
        return self

    @property
    def awaited(self) -> bool:
        """Whether somebody awaits the item and it is not resolved yet; such an item must not rest in a buffer."""
        return self._future is not None and not self._resolved

    async def resolution(self) -> Any:
        """Wait until the item is resolved and return its outcome. Raise `ItemDroppedError` when that will never happen."""
        if self._resolved:
            return self.outcome()
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
        if self._waiting is not None:
            self._waiting.add(self)
        if self._wake is not None:
            self._wake()
        return await asyncio.shield(self._future)

    def resolve(self) -> None:
        """Give everyone who awaits the item its present outcome. Calling it again changes nothing.

        A stage that drops an item calls this, so that nobody waits for it in vain.
        """
        self._resolved = True
        future = self._settle()
        if future is not None:
            future.set_result(self.outcome())

    def fail(self, error: Exception) -> None:
        """Raise `error` in everyone who awaits the item now."""
        future = self._settle()
        if future is not None:
            future.set_exception(error)
            # Waiters that timed out have gone; without this look, the loop would report the error as never retrieved.
            future.exception()

    def enter(self, waiting: Waiting) -> None:
        """Note which pipeline carries the item from now on."""
        if self._waiting is not waiting:
            self._waiting = waiting
            if self.awaited:
                waiting.add(self)

    def arm(self, wake: Callable[[], None] | None) -> None:
        """Call `wake` as soon as somebody awaits the item; `None` disarms."""
        self._wake = wake

    def _settle(self) -> asyncio.Future[Any] | None:
        if self._waiting is not None:
            self._waiting.discard(self)
        future, self._future = self._future, None
        return None if future is None or future.done() else future
