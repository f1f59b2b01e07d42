"""The way of a large body past the loop: threads bring its bytes from the socket into the file.

1. The client's protocol has read the head and perhaps the first bytes; from then on it reads
   nothing, and a tap takes exactly the bytes that are left of the body. So the connection can be
   used again afterwards.
2. The loop only waits until something has arrived. It is woken for half a mebibyte or the rest, not
   for every packet; what comes more slowly is moved twice a second.
3. What moves the bytes never waits for the network, and moves a few mebibytes at most. So the
   threads are shared by any number of bodies, and what cancels a transfer can wait for its
   thread.

Decisions: docs/decisions/0011.
"""

import asyncio
import os
import socket
from collections.abc import Collection
from typing import Final

from flowsync.model.remote import Take

_WAKE: Final = 1 << 19
"""Bytes that make it worth to wake the loop."""

_SOON: Final = 0.5
"""Seconds after which fewer are worth it, too: others look at the progress."""

_BUFFER: Final = 1 << 20
"""Bytes read, written and hashed at a time."""

_MOST: Final = 1 << 23
"""Bytes after which a thread is given back."""


class Tap:
    """The bytes that are left of one body: `left`, in the socket behind `descriptor`, which stays
    its owner's. `close` is due.

    `ended` says that the connection did before the body, `error` why, if it was not the other
    side's orderly end.
    """

    def __init__(self, descriptor: int, left: int) -> None:
        self.left = left
        self.ended = False
        self.error: OSError | None = None
        self._moved = 0
        self._socket = socket.socket(fileno=os.dup(descriptor))
        # As it is already, but for a process that has set a default time-out.
        self._socket.setblocking(False)
        self._waking = 1

    def close(self) -> None:
        """Let go of the socket. No thread may use it any more."""
        self._wake_at(1)
        self._socket.close()

    @property
    def is_clean(self) -> bool:
        """Whether nothing follows the body and the connection is still open."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    async def arrival(self, patience: float | None) -> bool:
        """Wait until there is something to move, or an end; return `False` when nothing came for
        `patience` seconds.
        """
        soon = _SOON if patience is None else min(_SOON, patience / 2)
        if await self._readable(min(self.left, _WAKE), soon):
            return True
        return await self._readable(1, None if patience is None else patience - soon)

    def move(self, target: int, takers: Collection[Take]) -> int:
        """Write what has arrived to the descriptor `target`, give it to the `takers`, and return
        how many bytes that were.

        Runs in a thread. Raise `OSError` when they cannot be written.
        """
        buffer = memoryview(bytearray(min(self.left, _BUFFER)))
        before = self._moved
        while self.left and self._moved - before < _MOST and (count := self._receive(buffer)):
            piece = buffer[:count]
            _write(target, piece)
            for take in takers:
                take(piece)
            self.left -= count
            self._moved += count
        return self._moved - before

    def collect(self) -> int:
        """Return how many bytes were moved since it was asked last."""
        moved, self._moved = self._moved, 0
        return moved

    async def _readable(self, count: int, patience: float | None) -> bool:
        self._wake_at(count)
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[bool] = loop.create_future()
        loop.add_reader(self._socket, _answer, readable, True)
        alarm = None if patience is None else loop.call_later(patience, _answer, readable, False)
        try:
            return await readable
        finally:
            loop.remove_reader(self._socket)
            if alarm is not None:
                alarm.cancel()

    def _receive(self, buffer: memoryview) -> int:
        try:
            count = self._socket.recv_into(buffer, min(self.left, len(buffer)))
        except BlockingIOError:
            return 0
        except OSError as error:
            self.ended, self.error = True, error
            return 0
        self.ended = count == 0
        return count

    def _wake_at(self, count: int) -> None:
        if count != self._waking:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._waking = count


def _answer(future: "asyncio.Future[bool]", answer: bool) -> None:
    if not future.done():
        future.set_result(answer)


def _write(target: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(target, piece) :]
