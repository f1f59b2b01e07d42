"""A bounded queue with two ends, a close, and statistics.

1. The end of the stream is a closed channel, not a magic item: `close` is called once, by the sending side, when nothing more will come.
2. A receiver that leaves early is told to the senders: after `abandon`, sending raises `StageEndedEarlyError` instead of waiting for ever.
3. Sending and receiving only touch the loop when they have to wait; in between they are plain method calls. That is what brings a hop
   under a microsecond (`bench/pipeline/bench_hops.py`).
4. Any number of tasks may send; one task receives at a time.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from flowsync.model.errors import PipelineError, StageEndedEarlyError

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
        "_closed",
        "_items",
        "_left_by",
        "_maxsize",
        "_peak",
        "_receiver",
        "_receiver_waited",
        "_sender_waited",
        "_senders",
        "_sent",
    )

    def __init__(self, maxsize: int = 1) -> None:
        if maxsize < 1:
            raise PipelineError(f"a channel holds at least 1 item, found maxsize {maxsize}")
        self._maxsize = maxsize
        self._items: deque[T] = deque()
        self._senders: deque[asyncio.Future[None]] = deque()
        self._receiver: asyncio.Future[None] | None = None
        self._closed = False
        self._left_by: str | None = None
        self._sent = 0
        self._peak = 0
        self._sender_waited = 0.0
        self._receiver_waited = 0.0

    def __len__(self) -> int:
        return len(self._items)

    # --- the sending end ---

    def offer(self, item: T) -> bool:
        """Put the item in if there is room right now and nobody queues for it; say whether that worked."""
        items = self._items
        if len(items) >= self._maxsize or self._senders or self._left_by is not None:
            return False
        items.append(item)
        self._count_sent(1)
        return True

    async def send(self, item: T) -> None:
        """Put the item in, waiting for room. Raise `StageEndedEarlyError` when the receiver has left."""
        while not self.offer(item):
            await self._wait_for_room()

    async def send_all(self, items: Sequence[T]) -> None:
        """Put the items in, in order, as many at a time as there is room for."""
        start = 0
        while start < len(items):
            room = self._maxsize - len(self._items)
            if room <= 0 or self._senders or self._left_by is not None:
                await self._wait_for_room()
                continue
            chunk = items[start : start + room]
            self._items.extend(chunk)
            self._count_sent(len(chunk))
            start += len(chunk)

    def close(self) -> None:
        """Say that nothing more will be sent."""
        self._closed = True
        self._wake_receiver()

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
        """Wait until an item can be taken and return True, or return False when the stream has ended."""
        while not self._items:
            if self._closed:
                return False
            await self.wait()
        return True

    async def wait(self) -> None:
        """Wait until an item comes, the channel is closed, or `wake` is called; whatever comes first."""
        if self._receiver is not None:
            raise PipelineError("two tasks of one stage wait for its next item at the same time")
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._receiver = loop.create_future()
        try:
            await self._receiver
        finally:
            self._receiver = None
            self._receiver_waited += loop.time() - started

    @property
    def wake(self) -> Callable[[], None]:
        """A callable that ends the receiver's current `wait`, if there is one."""
        return self._wake_receiver

    def pop(self) -> T:
        """Take the next item; there must be one."""
        item = self._items.popleft()
        if self._senders:
            self._wake_sender()
        return item

    def take(self, limit: int) -> list[T]:
        """Take up to `limit` items without waiting."""
        items = self._items
        if len(items) <= limit:
            taken = list(items)
            items.clear()
        else:
            taken = [items.popleft() for _ in range(limit)]
        if self._senders and taken:
            self._wake_sender()
        return taken

    def abandon(self, stage: str) -> None:
        """Tell all senders, now and later, that `stage` will receive no more."""
        self._left_by = stage
        while self._senders:
            self._wake_sender()

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

    def _count_sent(self, count: int) -> None:
        self._sent += count
        self._peak = max(self._peak, len(self._items))
        receiver = self._receiver
        if receiver is not None and not receiver.done():
            receiver.set_result(None)

    async def _wait_for_room(self) -> None:
        if self._left_by is not None:
            raise StageEndedEarlyError(
                f"stage {self._left_by} returned although items were still coming to it; "
                "a stage must read its input to the end"
            )
        loop = asyncio.get_running_loop()
        started = loop.time()
        turn: asyncio.Future[None] = loop.create_future()
        self._senders.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._senders.remove(turn)
            else:
                # The room was given to this sender in the moment it was cancelled: give it to the next.
                self._wake_sender()
            raise
        finally:
            self._sender_waited += loop.time() - started

    def _wake_sender(self) -> None:
        while self._senders:
            turn = self._senders.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _wake_receiver(self) -> None:
        if self._receiver is not None and not self._receiver.done():
            self._receiver.set_result(None)
