"""The parent's end of the line to one worker process: a pair of sockets, and memory that both see
for what is large.

1. A message is a header, a pickled head, and perhaps one body. A body of more than `IN_LINE` bytes
   is written into the shared memory, if that is free, and only its length goes through the socket:
   so a busy loop need not come back for every piece that a socket takes.
2. The kernel ends the line when the worker dies, however it dies, because nobody else has the
   worker's end. What was on its way is lost as a whole: half a message is never taken for one.
3. Answers come in the order of the questions.
"""

import asyncio
import os
import pickle
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from typing import Any, Final, NamedTuple, cast

from flowsync.runtime.worker_startup import HEADER

IN_LINE: Final = 16 * 1024
"""Bytes of a body that go through the socket: much less than a socket takes at once."""


class Message(NamedTuple):
    """Work on its way to a worker: the function and its arguments, pickled, and the bytes of the
    argument that is not copied.
    """

    head: bytes
    body: memoryview


class WorkerLine(asyncio.Protocol):
    """The line to one worker. `asked` holds the futures of what it was sent and has not answered,
    in order.

    `desk` is the descriptor of the shared memory, -1 without any. `answered` is called after each
    answer, `lost` when the worker is gone.
    """

    def __init__(
        self, desk: int, answered: Callable[[], None], lost: Callable[[str], None]
    ) -> None:
        self.asked: deque[asyncio.Future[Any]] = deque()
        self._desk = desk
        self._reader: asyncio.Future[Any] | None = None
        self._tell_answered = answered
        self._tell_lost = lost
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._lost = False

    async def open(self, end: socket.socket) -> None:
        """Begin to use our end of the sockets."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, sock=end)

    def ask(self, message: Message) -> "asyncio.Future[Any]":
        """Send a message, and return what will be its answer."""
        done = asyncio.get_running_loop().create_future()
        self.send(message, done)
        return done

    def send(self, message: Message, done: "asyncio.Future[Any]") -> None:
        """Send a message whose answer is wanted in `done`."""
        if self._transport is None or self._lost:
            done.set_exception(BrokenExecutor("a worker process ended before it was asked"))
            return
        self.asked.append(done)
        shared = self._put_on_desk(message.body, done)
        self._transport.write(HEADER.pack(len(message.head), len(message.body), shared))
        self._transport.write(message.head)
        if message.body and not shared:
            self._transport.write(message.body)

    def abandon(self) -> "list[asyncio.Future[Any]]":
        """Return the futures of what was not answered, and expect no answer any more."""
        asked, self.asked = list(self.asked), deque()
        return asked

    def close(self) -> None:
        """Let go of the sockets and of the shared memory."""
        if self._transport is not None:
            self._transport.abort()
        if self._desk >= 0:
            os.close(self._desk)
            self._desk = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # That of uvloop is no subclass.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (answer := self._next()) is not None:
            went_well, found = pickle.loads(answer)  # noqa: S301 -- from a process that we started
            if not self.asked:
                continue
            done = self.asked.popleft()
            if done is self._reader:
                self._reader = None
            self._tell_answered()
            if done.done():
                continue
            if went_well:
                done.set_result(found)
            else:
                done.set_exception(found)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._tell_lost("a worker process ended" + (f": {exc}" if exc else ""))

    def _put_on_desk(self, body: memoryview, reader: "asyncio.Future[Any]") -> bool:
        """Write a large body into the shared memory, unless another message is still read from it;
        say whether it is there.
        """
        if self._desk < 0 or self._reader is not None or len(body) <= IN_LINE:
            return False
        try:
            written = 0
            while written < len(body):
                written += os.pwrite(self._desk, body[written:], written)
        except OSError:
            return False  # memory is short; the socket takes it piece by piece
        self._reader = reader
        return True

    def _next(self) -> bytes | None:
        """Take the next answer from what came; `None` when it is not whole yet."""
        received = self._received
        if len(received) < HEADER.size:
            return None
        length, _, _ = HEADER.unpack_from(received)
        end = HEADER.size + length
        if len(received) < end:
            return None
        answer = bytes(memoryview(received)[HEADER.size : end])
        del received[:end]
        return answer


def open_desk() -> int:
    """Return a descriptor of new memory that a worker can share; -1 where the system has no such
    thing.
    """
    create = getattr(os, "memfd_create", None)
    if create is None:
        return -1
    try:
        return int(create("flowsync-worker"))
    except OSError:
        return -1
