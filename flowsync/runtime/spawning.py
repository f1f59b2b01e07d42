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
import os
import signal
import sys
from collections.abc import Iterable
from multiprocessing import context, popen_spawn_posix, process, reduction, spawn, util
from multiprocessing.process import BaseProcess
from typing import Any


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
