"""Decides when a batch is due; holds no loop and no clock.

1. A batch is due when it has reached its minimum, when the stream has ended, when someone awaits an
   item in it, or when the budget presses. An empty batch is never due.
2. While others are about to give back what the budget lacks, it does not press, and the minimum is
   another one, until there is a lull: what rests then is not kept by whoever begins next.
3. A batch never holds more than `maxsize` items; what is left in the channel waits for the next
   one.
4. An awaited item releases the whole batch, not only itself.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from flowsync.errors import PipelineError
from flowsync.pipeline.resolution import Resolvable

T = TypeVar("T")

LARGEST_BATCH = 2000
"""Items in a batch at most, unless the minimum is larger. Beyond it, a database batch gains nothing
and costs memory.
"""


class BatchBuffer(Generic[T]):
    """The batch that is being filled by one `batches()` iteration."""

    __slots__ = ("_armed", "_items", "_maxsize", "_minsize", "_patient", "_urgent")

    def __init__(self, minsize: int, maxsize: int | None = None) -> None:
        if minsize < 1:
            raise PipelineError(f"a batch has at least 1 item, found minsize {minsize}")
        self._minsize = minsize
        self._maxsize = max(minsize, LARGEST_BATCH) if maxsize is None else maxsize
        if self._maxsize < minsize:
            raise PipelineError(
                f"batches of at least {minsize} and at most {maxsize} items cannot be"
            )
        self._items: list[T] = []
        self._armed = 0
        self._urgent = False
        self._patient = True

    @property
    def room(self) -> int:
        """How many items the batch still takes."""
        return self._maxsize - len(self._items)

    def extend(self, items: list[T]) -> None:
        """Add items that arrived, in order."""
        self._items.extend(items)
        if not self._urgent:
            self._urgent = any(isinstance(item, Resolvable) and item.awaited for item in items)

    def due(self, *, ended: bool, pressed: bool, at_least: int = 0) -> bool:
        """Say whether the batch is to be released now; with `at_least`, that many items are its
        minimum until a lull, and pressure is none.
        """
        if ended or self._urgent:
            return bool(self._items)
        if at_least and self._patient:
            return len(self._items) >= at_least
        return len(self._items) >= self._minsize or (pressed and bool(self._items))

    def lull(self) -> None:
        """Note that those are through for whom the items waited; they do not wait for the next
        ones.
        """
        if self._items:
            self._patient = False

    def arm(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when someone begins to await an item that rests here."""

        def awaited() -> None:
            self._urgent = True
            wake()

        for item in self._items[self._armed :]:
            if isinstance(item, Resolvable):
                item.arm(awaited)
        self._armed = len(self._items)

    def release(self) -> list[T]:
        """Return the items, disarmed, and begin the next batch."""
        items = self._items
        for item in items[: self._armed]:
            if isinstance(item, Resolvable):
                item.arm(None)
        self._items, self._armed, self._urgent, self._patient = [], 0, False, True
        return items
