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
   may be one that nobody awaits.
6. After `break_off`, sending and waiting to receive raise `CancelledError`: the pipeline ends, also
   where a stage has caught its cancellation.
7. An item is in the channel when `send` returns, and is not when it raises, cancelled or otherwise.
   An item that was taken and could not be used is put back (`restore`), so that nothing is lost
   either.

Decisions: docs/decisions/0006.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from flowsync.errors import PipelineError, StageEndedEarlyError
from flowsync.pipeline.left_behind import Losses

T = TypeVar("T")


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
        if maxsize < 1:
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
        """Put the item in if there is room right now and nobody queues for it; say whether that
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
