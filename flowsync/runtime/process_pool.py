"""A crew of worker processes, from its start to the first death in it; or of threads, where no
process can be had.

1. Each worker has a line of its own (`flowsync.runtime.worker_line`). No pipe is shared, and no
   semaphore: a worker that dies ends its line, and nobody waits for what it took along.
2. A crew is lost when one of its workers dies. The caller starts another one.
3. A crew has one slot more than workers, so that a worker has its next work as soon as it has
   answered. Where there is one worker, the next work waits in its line; otherwise it waits here for
   the first worker that answers.

Decided: lines of its own instead of a `ProcessPoolExecutor`. All workers of an executor share one
pipe, at which its writer waits for ever when a worker dies while more is on its way than a pipe
holds (Python before 3.11.5), and its queues need named semaphores, which a machine may not have.
"""

import asyncio
import os
import pickle
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from typing import Any, Protocol, Self, TypeVar

from flowsync.runtime.spawning import WorkerProcess
from flowsync.runtime.threads import in_thread
from flowsync.runtime.worker_line import Message, WorkerLine, open_desk
from flowsync.runtime.worker_startup import Inherited, work_off

T = TypeVar("T")


class Workers(Protocol):
    """Those who do work away from the loop. `free` counts the slots that nothing is in; whoever
    sends work keeps it.
    """

    free: int
    slots: int

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers."""

    def submit(self, work: Callable[..., T], *arguments: object) -> "asyncio.Future[T]":
        """Hand work to the next worker; see `Crew.submit`."""

    async def stop(self) -> None:
        """End the workers and wait for them."""


class Crew:
    """Running worker processes, warm once `start` returns. Used from the loop that started them."""

    def __init__(self, workers: int) -> None:
        self.free = self.slots = workers + 1
        self._depth = 2 if workers == 1 else 1
        self._processes: list[WorkerProcess] = []
        self._ends: list[tuple[socket.socket, int]] = []
        self._pids: tuple[int, ...] = ()
        self._lines: list[WorkerLine] = []
        self._waiting: deque[tuple[asyncio.Future[Any], Message]] = deque()
        self._lost = ""

    @classmethod
    async def start(cls, workers: int, warm_up: Callable[[], object]) -> Self:
        """Start the workers and call `warm_up` in each, which imports what the work needs.

        Raise what starting a process can raise: `OSError`, and `BrokenExecutor` for one that dies
        at once.
        """
        crew = cls(workers)
        try:
            # Forking a large process takes some tens of milliseconds.
            await in_thread(crew._launch, workers)
            while crew._ends:
                line = WorkerLine(crew._ends[0][1], crew._answered, crew._lose)
                crew._lines.append(line)
                await line.open(crew._ends.pop(0)[0])
            await asyncio.gather(*(line.ask(_message(warm_up)) for line in crew._lines))
        except BaseException:
            await crew.stop()
            raise
        return crew

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers."""
        return self._pids

    def submit(self, work: Callable[..., T], *arguments: object) -> "asyncio.Future[T]":
        """Hand work to the next worker: a function of a module, and arguments that can be pickled.

        One argument may be a `PickleBuffer`: it crosses without being copied on the way, and the
        work gets it as a buffer. What the work raises comes back. Raise `BrokenExecutor` when a
        worker has died; the future raises it for one that dies later.
        """
        if self._lost:
            raise BrokenExecutor(self._lost)
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((done, _message(work, *arguments)))
        self._answered()
        return done

    def take_back(self, done: "asyncio.Future[Any]") -> bool:
        """Cancel work that no worker has got yet; say whether it was so."""
        for waiting in self._waiting:
            if waiting[0] is done:
                self._waiting.remove(waiting)
                return done.cancel()
        return False

    async def stop(self) -> None:
        """Kill the workers and wait for them. What they do must bear that: it is what happens in a
        crash anyway.
        """
        self._lose("the worker processes were stopped")
        for line in self._lines:
            line.close()
        while self._ends:
            end, desk = self._ends.pop()
            end.close()
            if desk >= 0:
                os.close(desk)
        processes, self._processes = self._processes, []
        await in_thread(_join, processes)

    def _launch(self, workers: int) -> None:
        """Start the processes, and keep our ends of their lines, each with the memory shared with
        that worker.
        """
        for _ in range(workers):
            ours, theirs = socket.socketpair()
            with theirs:
                desk = open_desk()
                self._ends.append((ours, desk))
                process = WorkerProcess(
                    target=work_off, args=(theirs, Inherited(desk)), daemon=True
                )
                process.start()
            self._processes.append(process)
            self._pids = (*self._pids, process.pid or 0)

    def _answered(self) -> None:
        """Hand out what waits, as long as a line has room."""
        for line in self._lines:
            while self._waiting and len(line.asked) < self._depth:
                done, message = self._waiting.popleft()
                line.send(message, done)

    def _lose(self, reason: str) -> None:
        """Let nobody wait for these workers any more."""
        self._lost = self._lost or reason
        for process in self._processes:
            process.kill()
        waiting, self._waiting = self._waiting, deque()
        abandoned = [done for done, _ in waiting]
        for line in self._lines:
            abandoned += line.abandon()
        for done in abandoned:
            if not done.done():
                done.set_exception(BrokenExecutor(self._lost))


class ThreadCrew:
    """Threads of this process that do the same work as a `Crew`, where processes cannot be had."""

    pids: tuple[int, ...] = ()

    def __init__(self, workers: int) -> None:
        self.free = self.slots = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="flowsync-worker")

    def submit(self, work: Callable[..., T], *arguments: object) -> "asyncio.Future[T]":
        """Hand work to the next thread; where not even a thread can be had, do it at once. The work
        must bear to be done twice.
        """
        loop = asyncio.get_running_loop()
        try:
            return loop.run_in_executor(self._threads, work, *arguments)
        except RuntimeError:
            done: asyncio.Future[T] = loop.create_future()
            done.set_result(work(*arguments))
            return done

    async def stop(self) -> None:
        """Wait until the threads have done what they are at."""
        await in_thread(lambda: self._threads.shutdown(cancel_futures=True))


def _message(work: Callable[..., object], *arguments: object) -> Message:
    bodies: list[pickle.PickleBuffer] = []
    head = pickle.dumps((work, arguments), protocol=5, buffer_callback=bodies.append)
    body = bodies[0].raw() if bodies else memoryview(b"")
    return Message(head, body)


def _join(processes: list[WorkerProcess]) -> None:
    for process in processes:
        process.join()
        process.close()
