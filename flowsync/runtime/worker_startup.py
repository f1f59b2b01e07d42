"""What a worker process does: makes sure that it can be ended, and ends with its parent; then does
work after work that comes over its line.

Each worker imports this module when it starts, so it is light: no event loop, no msgspec.
"""

import multiprocessing
import os
import pickle
import signal
import socket
import struct
import threading
import traceback
from collections.abc import Callable
from multiprocessing import reduction
from typing import Any, Final

from flowsync.errors import WorkerError
from flowsync.runtime.garbage import collect_rarely

HEADER: Final = struct.Struct("!QQ?")
"""What goes before each message: the bytes of its head, those of its body, and whether the body is
in the shared memory.
"""

_SECONDS_BETWEEN_LOOKS = 5.0


class Inherited(int):
    """A descriptor that a worker process has from its start, because it is among the arguments of
    the process.
    """

    def __reduce__(self) -> tuple[Callable[..., int], tuple[Any]]:
        return _detached, (reduction.DupFd(int(self)),)


def work_off(line: socket.socket, memory: int) -> None:
    """Do what comes over the line until its other end is closed. `memory` is the one shared with
    the parent; -1 where there is none.
    """
    settle_in()
    while header := _take(line, HEADER.size):
        length, size, shared = HEADER.unpack(header)
        head = _take(line, length)
        body = _read(memory, size) if shared else _take(line, size)
        if head is None or body is None:
            return
        answer = _answer(head, body)
        line.sendall(HEADER.pack(len(answer), 0, False) + answer)


def settle_in() -> None:
    """Make this process one that can be ended: by SIGTERM, whatever the parent does with it, and by
    the parent's death. Called once, first of all.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGINT, signal.SIGHUP})
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    collect_rarely()


def _detached(descriptor: Any) -> int:
    return int(descriptor.detach())


def _answer(head: bytearray, body: bytearray) -> bytes:
    try:
        work, arguments = pickle.loads(head, buffers=[body])  # noqa: S301 -- from our parent
        return pickle.dumps((True, work(*arguments)), protocol=5)
    except Exception as error:  # noqa: BLE001 -- raised again by the parent
        return _failure(error)


def _failure(error: Exception) -> bytes:
    told = "".join(traceback.format_exception(error))
    error.add_note(f"in worker process {os.getpid()}:\n{told}")
    try:
        packed = pickle.dumps((False, error), protocol=5)
        pickle.loads(packed)  # noqa: S301 -- our own; shows that it can be loaded
    except Exception:  # noqa: BLE001 -- any class may fail in its own way
        packed = pickle.dumps((False, WorkerError(f"{type(error).__qualname__}: {error}")))
    return packed


def _take(line: socket.socket, count: int) -> bytearray | None:
    """Return the next bytes of the line; `None` when it ends before."""
    taken = bytearray(count)
    rest = memoryview(taken)
    while rest:
        received = line.recv_into(rest)
        if not received:
            return None
        rest = rest[received:]
    return taken


def _read(memory: int, size: int) -> bytearray | None:
    """Return what the parent wrote into the shared memory."""
    found = bytearray(size)
    view = memoryview(found)
    read = 0
    while read < size:
        count = os.preadv(memory, (view[read:],), read)
        if not count:
            return None
        read += count
    return found


def _end_with_parent() -> None:
    """Wait until the parent is gone, however it went, and go too.

    A killed parent is no end of file to a worker that is busy, and processes that the caller forked
    can hold the parent's end of the line open: that is why the parent's id is looked at now and
    then.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    while parent.is_alive() and os.getppid() == parent.pid:
        parent.join(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
