"""Awaiting what becomes of an item: the wire that runs backwards from the end of a pipeline to its
beginning.

1. Each task that awaits an item has a future of its own: a waiter that is cancelled or times out
   harms nobody, and when the last has gone the item is like one that was never awaited.
2. An item that is awaited before it enters a buffer says so (`awaited`), one that is awaited inside
   a buffer wakes it (`arm`); either way the batch is released at once, so that nothing waits for a
   batch to fill which only they could fill.
3. When a pipeline ends, well or badly, a task that awaits an item of it, then or later, gets an
   error instead of waiting for ever.
4. After `resolve`, an item is like any other: stages behind the resolver batch it normally.
5. An item belongs to the first pipeline that it enters until that one ends: a stage may send it
   through an inner pipeline.

Also here: which items a task waits for, and waiting until all is settled. Who waits for what is
told from the items alone.
"""

import asyncio
import gc
import logging
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Coroutine,
    Generator,
    Iterator,
    Sequence,
)
from types import CoroutineType
from typing import Any, Final

from flowsync.errors import ItemDroppedError

_SHOWN: Final = 3


class Waiting:
    """The items of one pipeline that a task awaits; empty most of the time, whatever the number
    of items. With `on_request` items are resolved only when a task awaits them.
    """

    __slots__ = ("_end", "_items", "on_request")

    def __init__(self, *, on_request: bool = False) -> None:
        self.on_request = on_request
        self._items: dict[int, Resolvable] = {}
        self._end: str | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def ended(self) -> bool:
        """Whether the pipeline has ended, so that nothing resolves its items any more."""
        return self._end is not None

    def add(self, item: "Resolvable") -> None:
        """Remember that a task awaits `item`. Raise `ItemDroppedError` when the pipeline has
        ended.
        """
        if self.ended:
            raise self._dropped(item)
        self._items[id(item)] = item

    def discard(self, item: "Resolvable") -> None:
        """Forget `item`: it has an outcome, or it is not awaited any more."""
        self._items.pop(id(item), None)

    def tasks(self) -> set[asyncio.Task[Any] | None]:
        """Return the tasks that await an item themselves."""
        return {task for item in self._items.values() for task in item.waiting_tasks()}

    def items(self) -> "list[Resolvable]":
        """Return the awaited items."""
        return list(self._items.values())

    def describe(self) -> str:
        """Name a few of the awaited items for an error."""
        return describe(self.items())

    def end(self, cause: BaseException | None) -> None:
        """Give everyone who still waits an `ItemDroppedError`, caused by what ended the
        pipeline.
        """
        # Kept as text: the items live on, and through the error they would hold every frame of the
        # pipeline.
        self._end = _reason(cause)
        for item in list(self._items.values()):
            error = self._dropped(item)
            error.__cause__ = cause
            item.fail(error)

    def _dropped(self, item: "Resolvable") -> ItemDroppedError:
        return ItemDroppedError(f"{item} will never be resolved: {self._end}")


def describe(items: "Sequence[Resolvable]", name: "Callable[[Resolvable], str]" = str) -> str:
    """Name a few of the items for an error."""
    shown = [name(item) for item in items[:_SHOWN]]
    more = len(items) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _reason(cause: BaseException | None) -> str:
    if cause is None:
        return "no stage resolved it"
    if isinstance(cause, asyncio.CancelledError):
        return "the pipeline was cancelled"
    return f"the pipeline failed: {cause!r}"


class Resolvable:
    """An item that others may await. Subclasses say in `outcome` what the waiters get."""

    __slots__ = ("_failed", "_resolved", "_waiters", "_waiting", "_wake")

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[Any], asyncio.Task[Any] | None] | None = None
        self._resolved = self._failed = False
        self._waiting: Waiting | None = None
        self._wake: Callable[[], None] | None = None

    def outcome(self) -> Any:
        """Return what waiters get: by default the item itself."""
        return self

    @property
    def resolved(self) -> bool:
        """Whether `resolve` was called."""
        return self._resolved

    @property
    def failed(self) -> bool:
        """Whether `fail` was called, also when nothing awaited the item."""
        return self._failed

    @property
    def was_put(self) -> bool:
        """Whether the item was ever put into a pipeline."""
        return self._waiting is not None

    @property
    def awaited(self) -> bool:
        """Whether a task awaits the item, which is not resolved then; such an item must not rest
        in a buffer.
        """
        return self._waiters is not None

    def waiting_tasks(self) -> list[asyncio.Task[Any] | None]:
        """Return the tasks that await the item."""
        return list(self._waiters.values()) if self._waiters else []

    async def resolution(self) -> Any:
        """Wait until the item is resolved and return its outcome. Raise `ItemDroppedError` when
        that will never happen.
        """
        if self._resolved:
            return self.outcome()
        if self._waiting is not None:
            self._waiting.add(self)
        waiter = self._add_waiter()
        if self._wake is not None:
            self._wake()
        try:
            return await waiter
        finally:
            self._remove_waiter(waiter)

    def resolve(self) -> None:
        """Give everyone who awaits the item its present outcome. Calling it again changes nothing.

        A stage that drops an item calls this, so that nothing waits for it in vain.
        """
        self._resolved = True
        if self._waiters is not None:
            outcome = self.outcome()
            for waiter in self._dismiss_waiters():
                waiter.set_result(outcome)

    def fail(self, error: Exception) -> None:
        """Raise `error` in everyone who awaits the item now."""
        self._failed = True
        for waiter in self._dismiss_waiters():
            waiter.set_exception(error)

    def enter(self, waiting: Waiting) -> None:
        """Note which pipeline carries the item from now on, unless another one still does."""
        if self._waiting is not waiting and (self._waiting is None or self._waiting.ended):
            self._waiting = waiting
            if self._waiters is not None:
                waiting.add(self)

    def arm(self, wake: Callable[[], None] | None) -> None:
        """Call `wake` as soon as a task awaits the item; `None` disarms."""
        self._wake = wake

    def _add_waiter(self) -> asyncio.Future[Any]:
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = {}
        self._waiters[waiter] = asyncio.current_task()
        return waiter

    def _remove_waiter(self, waiter: asyncio.Future[Any]) -> None:
        # An outcome has dismissed the waiters already; only one that gave up is still among them.
        if self._waiters is not None and waiter in self._waiters:
            del self._waiters[waiter]
            if not self._waiters:
                self._dismiss_waiters()

    def _dismiss_waiters(self) -> list[asyncio.Future[Any]]:
        if self._waiting is not None:
            self._waiting.discard(self)
        waiters, self._waiters = self._waiters, None
        return [waiter for waiter in waiters or () if not waiter.done()]


# Which items a task waits for, itself or through tasks that it waits for in turn.
#
# It is found by looking at the coroutines of the task, when nothing moves any more: an item that
# was never put is known to no pipeline, and who awaits it can be told in no other way. Nothing is
# written down while things go well.

_FOLLOWED: Final = (asyncio.Future, asyncio.TaskGroup, Coroutine, Generator, AsyncGenerator)
_LISTS: Final = (list, tuple, set, frozenset, dict)


def awaited_items(task: asyncio.Task[Any]) -> list[Resolvable]:
    """Return the items whose `resolution()` the task waits for, or a task that it holds."""
    found: dict[int, Resolvable] = {}
    seen: set[int] = set()
    ahead: list[Any] = [task]
    while ahead:
        one = ahead.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        item = _awaited_by(one)
        if item is None:
            ahead.extend(_beyond(one))
        else:
            found[id(item)] = item
    return list(found.values())


def _awaited_by(one: object) -> Resolvable | None:
    if isinstance(one, CoroutineType) and one.cr_code is Resolvable.resolution.__code__:
        item = None if one.cr_frame is None else one.cr_frame.f_locals.get("self")
        return item if isinstance(item, Resolvable) else None
    return None


def _beyond(one: Any) -> Iterator[Any]:
    """Yield what `one` waits for or holds: awaitables, and those in its lists."""
    if isinstance(one, asyncio.Task):
        yield one.get_coro()
        return
    for held in gc.get_referents(one):
        yield from _awaitables(held)
    if isinstance(one, asyncio.TaskGroup):
        yield from _awaitables(vars(one))


def _awaitables(held: Any, depth: int = 2) -> Iterator[Any]:
    """Yield `held`, or those in it: `gather` keeps its tasks in a list in a dict."""
    if isinstance(held, _FOLLOWED):
        yield held
    elif isinstance(held, _LISTS) and depth:
        for each in held.values() if isinstance(held, dict) else held:
            yield from _awaitables(each, depth - 1)


# Waiting until all that a stage has put is settled: stored, or left out.
#
# Memory holds the items that are under way, whose number the channels bound, and those that were
# left out. The last item is awaited first: what releases its batches releases those of the others.

_LOOKED_AT: Final = 4096
"""Items from which those that are settled are forgotten."""


class Settling:
    """The items that a stage put since it began to look at them. `left_out` are those that failed
    and whose sync went on; whole once the stage has waited.
    """

    def __init__(self) -> None:
        self.left_out: list[Any] = []
        self._under_way: list[Resolvable] = []
        self._limit = _LOOKED_AT

    def add(self, items: Sequence[Any]) -> None:
        """Look at items from now on."""
        self._under_way += [item for item in items if isinstance(item, Resolvable)]
        if len(self._under_way) >= self._limit:
            self._forget_settled()
            self._limit = max(_LOOKED_AT, 2 * len(self._under_way))

    async def wait(self) -> None:
        """Wait until all items are settled. Raise `ItemDroppedError` when one will never be."""
        for item in reversed(self._under_way):
            if not (item.resolved or item.failed):
                await _settled(item)
        self._forget_settled()

    def _forget_settled(self) -> None:
        self.left_out += [item for item in self._under_way if item.failed]
        self._under_way = [item for item in self._under_way if not (item.resolved or item.failed)]


async def _settled(item: Resolvable) -> None:
    try:
        # Not what a subclass makes of it: a failure is known before it is decided what it means.
        await Resolvable.resolution(item)
    except ItemDroppedError:
        raise
    except Exception:  # noqa: BLE001 - it was left out, which is to be settled too
        return


# Cancelling what goes on although it was cancelled, again and again, until it has ended.

_log = logging.getLogger(__name__)

INSIST: Final = 10.0
"""Seconds after which a task that goes on although it was cancelled is cancelled again: more than a
clean-up takes.
"""


async def insist(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait until all `tasks`, which were cancelled, have ended; cancel again what goes on."""
    while running := [task for task in tasks if not task.done()]:
        await asyncio.wait(running, timeout=INSIST)
        for task in running:
            if not task.done():
                name = task.get_name()
                _log.warning("%s goes on although it was cancelled: cancelling it again", name)
                task.cancel()
