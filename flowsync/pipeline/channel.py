"""A bounded queue with two ends, a close, and statistics.

1. The end of the stream is a closed channel, not a magic item: `close` is called once, by the
   sending side, when nothing more will come.
2. A receiver that leaves early is told to the senders: after `abandon`, sending raises
   `StageEndedEarlyError` instead of waiting for ever. A sender that is left behind is told as well:
   after `close`, sending raises `PipelineError`.
3. Sending and receiving only touch the loop when they have to wait; in between they are plain
   method calls. That is what brings a hop under a microsecond (`bench/pipeline/bench_hops.py`).
4. Any number of tasks may send, and they are served in the order in which they came; one task
   receives at a time.
5. An item that cannot be sent any more is noted as lost (`Losses`), because the task that sends it
   may be one that nothing awaits.
6. After `break_off`, sending and waiting to receive raise `CancelledError`: the pipeline ends, also
   where a stage has caught its cancellation.
7. An item is in the channel when `send` returns, and is not when it raises, cancelled or otherwise.
   An item that was taken and could not be used is put back (`restore`), so that nothing is lost
   either.

Decisions: docs/decisions/0006.

Also here: when a batch is due, and what a stage leaves behind. A batch is a view of the channel's
items, and what is left behind ends in it.
"""

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import Context, ContextVar
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final, Generic, TypeVar

import msgspec

from flowsync.errors import PipelineError, StageEndedEarlyError
from flowsync.model.measures import problem_with_count
from flowsync.pipeline.resolution import Resolvable

# Decides when a batch is due; holds no loop and no clock.
#
# 1. A batch is due when it has reached its minimum, when the stream has ended, when a task awaits
#    an item in it, or when the budget presses. An empty batch is never due.
# 2. While others are about to give back what the budget lacks, it does not press, and the minimum
#    is another one, until there is a lull: what rests then is not kept by what begins next.
# 3. A batch never holds more than `maxsize` items; what is left in the channel waits for the next
#    one.
# 4. An awaited item releases the whole batch, not only itself.

T = TypeVar("T")

LARGEST_BATCH = 2000
"""Items in a batch at most, unless the minimum is larger. Beyond it, a database batch gains nothing
and costs memory.
"""


class BatchBuffer(Generic[T]):
    """The batch that is being filled by one `batches()` iteration."""

    __slots__ = ("_armed", "_items", "_maxsize", "_minsize", "_patient", "_urgent")

    def __init__(self, minsize: int, maxsize: int | None = None) -> None:
        if problem_with_count(minsize, 1, None) is not None:
            raise PipelineError(f"a batch has at least 1 item, found minsize {minsize}")
        self._minsize = minsize
        self._maxsize = max(minsize, LARGEST_BATCH) if maxsize is None else maxsize
        if problem_with_count(self._maxsize, minsize, None) is not None:
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
        """Have `wake` called when a task begins to await an item that rests here."""

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


# Tasks that a stage leaves behind: begun by it, still going on when it has returned, and able to
# put.
#
# 1. Who began a task is told by its context, which tasks, timers and threads of asyncio hand on. A
#    task of other code that merely knows the stage is none of its own.
# 2. What a task can do is told by what its frames hold: the stage itself, one of its methods, or a
#    closure, a `partial` or a list with one of these in it. Of a task that holds none of them, such
#    as one that keeps a pool of connections, nothing is lost.
# 3. It is looked for once, when a stage returns; nothing is written down for an item.

_began_by: ContextVar[object] = ContextVar("flowsync_began_by")

_DEPTH: Final = 4
"""How far from a frame a stage is looked for: a list of partials of methods, and one more."""

_MANY: Final = 100
"""A longer list is one of items."""


class Beginner:
    """Marks all that is begun, from now on, by the task that makes it and by what that begins."""

    __slots__ = ("__weakref__",)

    def __init__(self) -> None:
        _began_by.set(self)

    def left_behind(self, stage: object, own: Iterable[asyncio.Task[Any]] = ()) -> list[str]:
        """Return the names of the tasks that go on and hold `stage`, except `own` and the task
        that asks. One that was cancelled, and has not ended yet, does not go on.
        """
        return sorted(
            _name(task)
            for task in asyncio.all_tasks().difference(own, [asyncio.current_task()])
            if self._began(task) and not task.cancelling() and _task_holds(task, stage)
        )

    def expect_nothing_left(self, stage: object, own: Iterable[asyncio.Task[Any]]) -> None:
        """Raise `StageEndedEarlyError` if `stage`, which has returned, left a task behind."""
        left = self.left_behind(stage, own)
        if left:
            raise StageEndedEarlyError(
                f"stage {stage} returned and left behind what still goes on: "
                f"{', '.join(left[:3])}; "
                "what that puts would be lost: await your tasks, or use a TaskGroup"
            )

    def _began(self, task: asyncio.Task[Any]) -> bool:
        context = _context(task)
        return context is not None and context.get(_began_by) is self


def _context(task: asyncio.Task[Any]) -> Context | None:
    if hasattr(task, "get_context"):
        found = task.get_context()
        return found if isinstance(found, Context) else None
    # Python 3.11 does not tell. The task's own context comes before those of its callbacks.
    held = gc.get_referents(task)
    return next((one for one in held if isinstance(one, Context)), None)


def _name(task: asyncio.Task[Any]) -> str:
    work = getattr(task.get_coro(), "__qualname__", None)
    return task.get_name() if work is None else f"{task.get_name()} ({work})"


def _task_holds(task: asyncio.Task[Any], stage: object) -> bool:
    return any(
        _holds(value, stage, _DEPTH) for values in _frames(task.get_coro()) for value in values
    )


def _frames(work: Any) -> Iterator[list[Any]]:
    """Yield what the frames hold of a coroutine and of those that it awaits."""
    while work is not None:
        frame = getattr(work, "cr_frame", None) or getattr(work, "gi_frame", None)
        if frame is not None:
            yield list(frame.f_locals.values())
        work = getattr(work, "cr_await", None) or getattr(work, "gi_yieldfrom", None)


def _holds(value: Any, stage: object, depth: int) -> bool:
    if value is stage:
        return True
    return depth > 0 and any(_holds(part, stage, depth - 1) for part in _parts(value))


def _parts(value: Any) -> Iterator[Any]:
    """Yield what can be reached from a value in one step, if it is of a kind that wraps others."""
    if isinstance(value, MethodType):
        yield value.__self__
        yield value.__func__
    elif isinstance(value, FunctionType):
        yield from _closed_over(value)
    elif isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, list | tuple | set | frozenset):
        if len(value) <= _MANY:
            yield from value
    elif isinstance(value, dict):
        if len(value) <= _MANY:
            yield from value.values()
    elif hasattr(value, "cr_frame"):
        for values in _frames(value):
            yield from values


def _closed_over(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            # A name that has no value yet.
            continue


# Items that could not be handed on: the one record of them, which pipeline, channels and stages
# share.
#
# A task that puts an item may be one that nothing awaits, so raising there is not enough. What is
# noted here fails the pipeline, or, after its end, the completion of the version that it made.


class Losses:
    """The first error of an item that could not be handed on. Made by a pipeline, which it
    outlives.
    """

    __slots__ = ("error", "told")

    def __init__(self) -> None:
        self.error: PipelineError | None = None
        self.told = asyncio.Event()

    def note(self, error: PipelineError) -> PipelineError:
        """Keep `error`, if it is the first, tell the pipeline, and return it."""
        if self.error is None:
            self.error = error
            self.told.set()
        return error


class ChannelStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What went through a channel. Waits are in seconds, summed over all waiters of that end."""

    capacity: int
    waiting: int
    sent: int
    peak: int
    sender_waited: float
    receiver_waited: float


class Channel(Generic[T]):
    """The way from one stage to the next. Lives as long as its pipeline runs, in one loop."""

    __slots__ = (
        "_broken",
        "_closed",
        "_free",
        "_items",
        "_left_by",
        "_losses",
        "_maxsize",
        "_open",
        "_peak",
        "_receiver",
        "_receiver_waited",
        "_sender_waited",
        "_senders",
        "_sent",
    )

    def __init__(self, maxsize: int = 1, losses: Losses | None = None) -> None:
        if problem_with_count(maxsize, 1, None) is not None:
            raise PipelineError(f"a channel holds at least 1 item, found maxsize {maxsize}")
        self._maxsize = maxsize
        self._items: deque[T] = deque()
        self._senders: deque[asyncio.Future[None]] = deque()
        self._receiver: asyncio.Future[None] | None = None
        # Places that are neither taken nor promised. While senders wait there are none, or fewer
        # after a `restore`.
        self._free = maxsize
        self._open = True
        self._closed = False
        self._broken = False
        self._left_by: str | None = None
        self._losses = losses or Losses()
        self._sent = 0
        self._peak = 0
        self._sender_waited = 0.0
        self._receiver_waited = 0.0

    def __len__(self) -> int:
        return len(self._items)

    # --- the sending end ---

    def offer(self, item: T) -> bool:
        """Put the item in if there is room right now and nothing queues for it; say whether that
        worked.
        """
        if self._free < 1 or not self._open:
            return False
        self._free -= 1
        self._items.append(item)
        self._note_sent(1)
        return True

    async def send(self, item: T) -> None:
        """Put the item in, waiting for room. Raise `StageEndedEarlyError` when the receiver has
        left.
        """
        if not self.offer(item):
            await self._wait_for_place()
            self._items.append(item)
            self._note_sent(1)

    async def send_all(self, items: Sequence[T]) -> None:
        """Put the items in, in order, as many at a time as there is room for. Cancelled, it has
        sent the first of them.
        """
        start = 0
        while start < len(items):
            if self._free < 1 or not self._open:
                await self._wait_for_place()
                self._free += 1
            chunk = items[start : start + max(self._free, 1)]
            self._free -= len(chunk)
            self._items.extend(chunk)
            self._note_sent(len(chunk))
            start += len(chunk)

    def close(self) -> None:
        """Say that nothing more will be sent. Raise `PipelineError` when a task still waits to
        send: its item would be lost.
        """
        promised = self._maxsize - self._free - len(self._items)
        late = len(self._senders) + max(promised, 0)
        self._open = False
        self._closed = True
        self._release_senders()
        self._wake_receiver()
        if late:
            raise PipelineError(
                f"run() returned while {late} tasks that it had started still waited to put "
                "an item; "
                "a stage must wait for its tasks"
            )

    # --- the receiving end ---

    @property
    def exhausted(self) -> bool:
        """Whether nothing is waiting and nothing more will come."""
        return self._closed and not self._items

    @property
    def receiver_waits(self) -> bool:
        """Whether the receiving stage stands at an empty channel."""
        return self._receiver is not None and not self._items

    async def ready(self) -> bool:
        """Wait until an item can be taken and return True, or return False when the stream has
        ended.
        """
        while not self._items:
            if self._closed:
                return False
            await self.wait()
        return True

    async def wait(self) -> None:
        """Wait until an item comes, the channel is closed, or `wake` is called; whatever comes
        first.
        """
        if self._receiver is not None:
            raise PipelineError("two tasks of one stage wait for its next item at the same time")
        if self._broken:
            raise asyncio.CancelledError
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._receiver = loop.create_future()
        try:
            await self._receiver
        finally:
            self._receiver = None
            self._receiver_waited += loop.time() - started
        if self._broken:
            raise asyncio.CancelledError

    @property
    def wake(self) -> Callable[[], None]:
        """A callable that ends the receiver's current `wait`, if there is one."""
        return self._wake_receiver

    def pop(self) -> T:
        """Take the next item; there must be one."""
        item = self._items.popleft()
        self._free += 1
        if self._senders:
            self._promise_places()
        return item

    def take(self, limit: int) -> list[T]:
        """Take up to `limit` items without waiting."""
        items = self._items
        if len(items) <= limit:
            taken = list(items)
            items.clear()
        else:
            taken = [items.popleft() for _ in range(limit)]
        self._free += len(taken)
        if self._senders:
            self._promise_places()
        return taken

    def restore(self, items: Sequence[T]) -> None:
        """Put items that were taken back to where they were, whether there is room for them
        or not.
        """
        self._items.extendleft(reversed(items))
        self._free -= len(items)

    def abandon(self, stage: str) -> None:
        """Tell all senders, now and later, that `stage` will receive no more."""
        self._left_by = stage
        self._open = False
        self._release_senders()

    def break_off(self) -> None:
        """End all waiting at both ends, now and later: the pipeline ends before its stream does."""
        self._broken = True
        self._open = False
        self._release_senders()
        self._wake_receiver()

    def statistics(self) -> ChannelStatistics:
        """Return what went through so far."""
        return ChannelStatistics(
            capacity=self._maxsize,
            waiting=len(self._items),
            sent=self._sent,
            peak=self._peak,
            sender_waited=self._sender_waited,
            receiver_waited=self._receiver_waited,
        )

    @property
    def sent(self) -> int:
        """How many items were put in so far."""
        return self._sent

    @property
    def sender_waits(self) -> bool:
        """Whether a task of the sending stage waits for room."""
        return bool(self._senders)

    def _note_sent(self, count: int) -> None:
        self._sent += count
        self._peak = max(self._peak, len(self._items))
        if self._receiver is not None:
            self._wake_receiver()

    async def _wait_for_place(self) -> None:
        """Return when a place is promised to the caller, who must use it at once."""
        self._check_open()
        loop = asyncio.get_running_loop()
        started = loop.time()
        turn: asyncio.Future[None] = loop.create_future()
        self._senders.append(turn)
        try:
            await turn
        except BaseException:
            self._renounce(turn)
            raise
        finally:
            self._sender_waited += loop.time() - started
        self._check_open()

    def _renounce(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            # The place was promised in the moment in which the sender was cancelled: it goes to the
            # next.
            self._free += 1
            self._promise_places()
        elif turn in self._senders:
            self._senders.remove(turn)

    def _promise_places(self) -> None:
        while self._senders and self._free > 0:
            turn = self._senders.popleft()
            if not turn.done():
                self._free -= 1
                turn.set_result(None)

    def _release_senders(self) -> None:
        while self._senders:
            turn = self._senders.popleft()
            if not turn.done():
                turn.set_result(None)

    def _check_open(self) -> None:
        if self._left_by is not None:
            early = f"stage {self._left_by} returned although items were still coming to it; "
            raise self._losses.note(
                StageEndedEarlyError(f"{early}a stage must read its input to the end")
            )
        if self._closed:
            late = "an item was put by a task that its stage had left behind: run() had returned"
            raise self._losses.note(PipelineError(late))
        if self._broken:
            raise asyncio.CancelledError

    def _wake_receiver(self) -> None:
        if self._receiver is not None and not self._receiver.done():
            self._receiver.set_result(None)
