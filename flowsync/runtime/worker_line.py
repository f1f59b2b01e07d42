"""The parent's end of the line to one worker process: a pair of sockets, and memory that both see
for what is large, and for what is not wanted any more.

1. A request is a header, the pickled work, and bytes. More than `IN_LINE` of those are written into
   the shared memory, if that is free, and only their number goes through the socket: so a busy loop
   need not come back for every piece that a socket takes.
2. The kernel ends the line when the worker dies, however it dies, because no other process has the
   worker's end. What was on its way is lost as a whole: half a message is never taken for one.
3. Replies come in the order of the requests.
"""

import asyncio
import os
import pickle
import socket
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from typing import Final, cast

from flowsync.runtime.executor import Work
from flowsync.runtime.spawning import BODIES, NUMBER, REPLY, REQUEST

IN_LINE: Final = 16 * 1024
"""Bytes of a request that go through the socket: much less than a socket takes at once."""


class WorkRequest:
    """Work on its way. It is given up when `tries` workers were lost over it. While it is `alone`,
    nothing else is on its way.
    """

    __slots__ = ("alone", "body", "head", "losses", "reply", "tries", "work")

    def __init__(self, work: Work, body: bytes, tries: int = 1, *, alone: bool = False) -> None:
        self.work = work
        self.head = pickle.dumps(work)
        self.body = body
        self.tries = tries
        self.losses = 0
        self.alone = alone
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answer(self, reply: bytes) -> None:
        """Hand over the reply, if it is still waited for."""
        if not self.reply.done():
            self.reply.set_result(reply)

    def fail(self, error: BaseException) -> None:
        """Raise the error where the reply is waited for."""
        if not self.reply.done():
            self.reply.set_exception(error)


class WorkerLine(asyncio.Protocol):
    """The line to one worker. `asked` holds what it was sent and has not answered, in order.

    `memory` is the descriptor of the shared memory, which is closed with the line. `answered` is
    called after each reply, `lost` when the worker is gone.
    """

    def __init__(
        self, memory: int, answered: Callable[[], None], lost: Callable[[str], None]
    ) -> None:
        self.asked: deque[WorkRequest] = deque()
        self._memory = memory
        self._reader: WorkRequest | None = None
        self._sent = 0
        self._tell_answered = answered
        self._tell_lost = lost
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._lost = False

    async def open(self, end: socket.socket) -> None:
        """Begin to use our end of the sockets."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, sock=end)

    def send(self, request: WorkRequest) -> None:
        """Send a request. At most two may be unanswered."""
        if self._transport is None or self._lost:
            request.fail(BrokenExecutor("a worker process ended before it was asked"))
            return
        self.asked.append(request)
        self._sent += 1
        head, body = request.head, request.body
        shared = self._put_into_memory(request)
        self._transport.write(REQUEST.pack(len(head), len(body), shared) + head)
        if body and not shared:
            self._transport.write(body)

    def take_back(self, request: WorkRequest) -> bool:
        """Tell the worker that a reply is not wanted any more; say whether it was asked for it."""
        if request not in self.asked:
            return False
        request.tries = 1  # it is not wanted again
        number = self._sent - len(self.asked) + self.asked.index(request) + 1
        os.pwrite(self._memory, NUMBER.pack(number), NUMBER.size * (number % 2))
        return True

    def abandon(self) -> list[WorkRequest]:
        """Return what was not answered, and expect no reply any more."""
        asked, self.asked = list(self.asked), deque()
        return asked

    def close(self) -> None:
        """Let go of the sockets and of the shared memory."""
        if self._transport is not None:
            self._transport.abort()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # That of uvloop is no subclass.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (received := self._next()) is not None:
            went_well, reply = received
            if not self.asked:
                continue
            request = self.asked.popleft()
            if request is self._reader:
                self._reader = None
            self._tell_answered()
            if went_well:
                request.answer(reply)
            else:
                request.fail(pickle.loads(reply))  # noqa: S301 -- from a process that we started

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._tell_lost("a worker process ended" + (f": {exc}" if exc else ""))

    def _put_into_memory(self, request: WorkRequest) -> bool:
        """Write the bytes of a large request into the shared memory, unless another one is still
        read from it; say whether they are there.
        """
        if self._reader is not None or len(request.body) <= IN_LINE:
            return False
        try:
            _write(self._memory, request.body)
        except OSError:
            return False  # memory is short; the socket takes it piece by piece
        self._reader = request
        return True

    def _next(self) -> tuple[bool, bytes] | None:
        """Take the next reply from what came; `None` when it is not whole yet."""
        received = self._received
        if len(received) < REPLY.size:
            return None
        length, went_well = REPLY.unpack_from(received)
        end = REPLY.size + length
        if len(received) < end:
            return None
        reply = bytes(memoryview(received)[REPLY.size : end])
        del received[:end]
        return went_well, reply


def open_memory() -> int:
    """Return a descriptor of new memory that a worker can share; a file without a name where the
    system has no such thing. Raise `OSError`.
    """
    create = getattr(os, "memfd_create", None)
    if create is None:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    else:
        memory = int(create("flowsync-worker"))
    try:
        # Taken now, so that there is always room to tell what is not wanted any more.
        os.pwrite(memory, bytes(BODIES), 0)
    except OSError:
        os.close(memory)
        raise
    return memory


def _write(memory: int, body: bytes) -> None:
    rest, place = memoryview(body), BODIES
    while rest:
        written = os.pwrite(memory, rest, place)
        rest, place = rest[written:], place + written
