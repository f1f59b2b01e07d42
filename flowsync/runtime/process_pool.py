"""Worker processes from their start to the first death among them.

1. Each worker has a line of its own (`flowsync.runtime.worker_line`). No pipe is shared, and no
   semaphore: a worker that dies ends its line, and nothing waits for what it took along.
2. A pool is lost when one of its workers dies. `LocalProcesses` starts another one.
3. A line takes one request at a time. Where there is one worker it takes two, so that the worker
   has its next work as soon as it has replied.

Decisions: docs/decisions/0007.
"""

import asyncio
import os
import pickle
import socket
from collections.abc import Callable
from concurrent.futures import BrokenExecutor

from flowsync.runtime.spawning import Inherited, WorkerProcess, warm, work_off
from flowsync.runtime.tasks import in_thread
from flowsync.runtime.worker_line import WorkerLine, WorkRequest, open_memory


class ProcessPool:
    """The worker processes, warm once `start` returns. Used from the loop that starts them.

    `answered` is called when a line has room again, `lost` when the workers are gone: with the
    pool, the reason, and what they had not answered.
    """

    def __init__(
        self,
        answered: Callable[[], None],
        lost: Callable[["ProcessPool", str, list[WorkRequest]], None],
    ) -> None:
        self.lost = ""
        self._depth = 1
        self._processes: list[WorkerProcess] = []
        self._ends: list[tuple[socket.socket, int]] = []
        self._pids: tuple[int, ...] = ()
        self._lines: list[WorkerLine] = []
        self._tell_answered = answered
        self._tell_lost = lost

    async def start(self, workers: int, warm_up: Callable[[], object]) -> None:
        """Start the workers and call `warm_up` in each, which imports what the work needs.

        Raise what starting a process can raise: `OSError`, and `BrokenExecutor` for one that dies
        at once. No process is left then.
        """
        try:
            # Forking a large process takes some tens of milliseconds.
            await in_thread(self._launch, workers)
            while self._ends:
                line = WorkerLine(self._ends[0][1], self._tell_answered, self.lose)
                self._lines.append(line)
                await line.open(self._ends.pop(0)[0])
            first = [WorkRequest(warm, pickle.dumps(warm_up)) for _ in self._lines]
            for line, request in zip(self._lines, first, strict=True):
                line.send(request)
            await asyncio.gather(*(request.reply for request in first))
            if self.lost:
                raise BrokenExecutor(self.lost)
        except BaseException:
            await self.stop()
            raise
        self._depth = 2 if workers == 1 else 1

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers."""
        return self._pids

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not any(line.asked for line in self._lines)

    def send(self, request: WorkRequest) -> bool:
        """Send a request to a worker that has room; say whether there was one."""
        for line in self._lines:
            if len(line.asked) < self._depth:
                line.send(request)
                return True
        return False

    def take_back(self, reply: "asyncio.Future[bytes]") -> bool:
        """Tell the worker that a reply is not wanted any more; say whether one was asked for it."""
        for line in self._lines:
            for request in line.asked:
                if request.reply is reply:
                    return line.take_back(request)
        return False

    def lose(self, reason: str) -> None:
        """Kill the workers, and let nothing wait for them any more. What they do must bear that: it
        is what happens in a crash anyway.
        """
        if self.lost:
            return
        self.lost = reason
        for process in self._processes:
            process.kill()
        abandoned = [request for line in self._lines for request in line.abandon()]
        self._tell_lost(self, reason, abandoned)

    async def stop(self) -> None:
        """Kill the workers and wait for them."""
        self.lose("the worker processes were stopped")
        for line in self._lines:
            line.close()
        while self._ends:
            end, memory = self._ends.pop()
            end.close()
            os.close(memory)
        processes, self._processes = self._processes, []
        await in_thread(_join, processes)

    def _launch(self, workers: int) -> None:
        """Start the processes, and keep our ends of their lines, each with the memory shared with
        that worker.
        """
        for _ in range(workers):
            memory = open_memory()
            try:
                ours, theirs = socket.socketpair()
            except OSError:
                os.close(memory)
                raise
            self._ends.append((ours, memory))
            with theirs:
                process = WorkerProcess(
                    target=work_off, args=(theirs, Inherited(memory)), daemon=True
                )
                process.start()
            self._processes.append(process)
            self._pids = (*self._pids, process.pid or 0)


def _join(processes: list[WorkerProcess]) -> None:
    for process in processes:
        process.join()
        process.close()
