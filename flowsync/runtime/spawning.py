"""How a worker process comes to life: spawned, light, deaf to Ctrl-C and to the end of its
terminal.

1. Spawned, never forked: the parent has threads and an event loop.
2. The caller's `__main__` is not run again in the worker. The `spawn` of the standard library does
   that so that functions defined there can be unpickled; ours are defined in modules of flowsync.
   Without it a script needs no `if __name__ == "__main__"` guard to sync, and a worker of a large
   application starts as fast as one of a small one.
3. No semaphore is made, and so no process that watches over them: a machine without a usable
   /dev/shm can have workers.
4. SIGINT and SIGHUP are blocked before the worker exists: what the terminal sends to the whole
   process group is the parent's alone to handle, even while the worker's interpreter starts.

Decisions: docs/decisions/0007.
"""

import io
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing import context, popen_spawn_posix, process, reduction, spawn, util
from multiprocessing.process import BaseProcess
from typing import Any, Final

from flowsync.errors import WorkerError
from flowsync.runtime.garbage import collect_rarely


class WorkerProcess(context.SpawnProcess):
    """A process that is launched without the caller's `__main__`, with SIGINT and SIGHUP
    blocked.
    """

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> "_Launch":  # noqa: N802
        return _Launch(process_obj)


class _Launch(popen_spawn_posix.Popen):
    # Descriptors that the child inherits: the base class adds those of sockets and shared memory
    # while they are pickled.
    _fds: list[int]

    def _launch(self, process_obj: BaseProcess) -> None:
        luggage = self._pack(process_obj)
        # The parent keeps its ends as long as this object lives: an outlet that closes tells the
        # child that the parent has died.
        kept: list[int] = []
        given: list[int] = []
        self.finalizer = util.Finalize(self, _close, (kept,))
        try:
            self.sentinel, dies_with_child = os.pipe()
            kept.append(self.sentinel)
            given.append(dies_with_child)
            inlet, outlet = os.pipe()
            kept.append(outlet)
            given.append(inlet)
            self.pid = _spawn(inlet, [*self._fds, *given])
        finally:
            _close(given)
        with open(outlet, "wb", closefd=False) as stream:
            stream.write(luggage)

    def _pack(self, process_obj: BaseProcess) -> bytes:
        """Return what the child reads first: how its interpreter is prepared, then the process
        object. Collects the inherited descriptors.
        """
        preparation = _preparation(process_obj.name)
        preparation.pop("init_main_from_name", None)
        preparation.pop("init_main_from_path", None)
        luggage = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(preparation, luggage)
            reduction.dump(process_obj, luggage)
        finally:
            context.set_spawning_popen(None)
        return luggage.getvalue()


def _preparation(name: str) -> dict[str, Any]:
    """Return how the interpreter of a worker is prepared."""
    try:
        return spawn.get_preparation_data(name)
    except FileNotFoundError:
        # The working directory was removed: a worker needs none, but the modules and its parent's
        # key.
        return {
            "name": name,
            "authkey": process.current_process().authkey,
            "sys_path": [folder for folder in sys.path if folder],
            "sys_argv": sys.argv,
        }


def _spawn(inlet: int, inherited: list[int]) -> int:
    """Start an interpreter that reads its luggage from `inlet`; return its process id."""
    executable, *options = spawn.get_command_line(pipe_handle=inlet)
    # Without -P, Python 3.13 cannot even start in a working directory that was removed. Where to
    # find modules is in the luggage.
    command = [executable, "-P", *options]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        return util.spawnv_passfds(os.fsencode(spawn.get_executable()), command, inherited)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


# What a worker process does: makes sure that it can be ended, and ends with its parent; then does
# work after work that comes over its line.
#
# Each worker imports this module when it starts, so it is light: no event loop, no msgspec.

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

    Where no thread can be had the process ends without a word: its parent sees that, and says what
    the system lacks.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGINT, signal.SIGHUP})
    watch = threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True)
    try:
        watch.start()
    except RuntimeError:
        os._exit(1)
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
