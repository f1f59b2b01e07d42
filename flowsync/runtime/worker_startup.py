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
from functools import partial
from multiprocessing import reduction
from typing import Any, Final

from flowsync.errors import WorkerError
from flowsync.runtime.garbage import collect_rarely

REQUEST: Final = struct.Struct("!QQ?")
"""What goes before a request: the bytes of the pickled work, those of the request itself, and
whether that is in the shared memory.
"""

REPLY: Final = struct.Struct("!Q?")
"""What goes before a reply: its bytes, and whether it is one, or else a pickled error."""

NUMBER: Final = struct.Struct("!Q")
"""The number of a request that is not wanted any more, counted from 1 in the order in which a line
takes them. Two of them stand at the beginning of the shared memory, one for even numbers, one for
odd ones: a line has two requests at most.
"""

BODIES: Final = 2 * NUMBER.size
"""Where in the shared memory the bytes of a request begin."""

_SECONDS_BETWEEN_LOOKS = 5.0


class Inherited(int):
    """A descriptor that a worker process has from its start, because it is among the arguments of
    the process.
    """

    def __reduce__(self) -> tuple[Callable[..., int], tuple[Any]]:
        return _detached, (reduction.DupFd(int(self)),)


def work_off(line: socket.socket, memory: int) -> None:
    """Do what comes over the line until its other end is closed. `memory` is shared with the
    parent.
    """
    settle_in()
    number = 0
    while header := _take(line, REQUEST.size):
        length, size, shared = REQUEST.unpack(header)
        head = _take(line, length)
        body = os.pread(memory, size, BODIES) if shared else _take(line, size)
        if head is None or body is None or len(body) != size:
            return
        number += 1
        went_well, reply = _reply(head, bytes(body), partial(_is_wanted, memory, number))
        line.sendall(REPLY.pack(len(reply), went_well) + reply)


def warm(warm_up: bytes, _: Callable[[], bool]) -> bytes:
    """Call the pickled function: the first work of every worker."""
    pickle.loads(warm_up)()  # noqa: S301 -- from our parent
    return b""


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


def _reply(head: bytearray, request: bytes, is_wanted: Callable[[], bool]) -> tuple[bool, bytes]:
    try:
        work = pickle.loads(head)  # noqa: S301 -- from our parent
        return True, work(request, is_wanted)
    except Exception as error:  # noqa: BLE001 -- raised again by the parent
        return False, _failure(error)


def _is_wanted(memory: int, number: int) -> bool:
    told = os.pread(memory, NUMBER.size, NUMBER.size * (number % 2))
    return told != NUMBER.pack(number)


def _failure(error: Exception) -> bytes:
    told = "".join(traceback.format_exception(error))
    error.add_note(f"in worker process {os.getpid()}:\n{told}")
    try:
        packed = pickle.dumps(error, protocol=5)
        pickle.loads(packed)  # noqa: S301 -- our own; shows that it can be loaded
    except Exception:  # noqa: BLE001 -- any class may fail in its own way
        packed = pickle.dumps(WorkerError(f"{type(error).__qualname__}: {error}"))
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
