"""Worker processes of this machine that live as long as they are needed: the executor that an
engine has unless it is given another.

1. The processes start with the first request, or when `start_soon` says so. Requests wait in order;
   what waits outlives the processes.
2. A worker that dies takes the others along; the next ones start when there is work. What was on
   its way goes again, with nothing else on its way: so a request that kills workers is found out
   and harms no other for long. When as many workers as it may have were lost over it, it is given
   up.
3. A request that is taken back is told to its worker, and waited for. A worker that does not listen
   is killed with the others, and what else was on its way goes again.
4. Where the processes cannot be started `MOST_SETBACKS` times in a row, or die before they did
   anything, threads of this process do the work from then on, if that was asked for; or else all
   that waits is given up.
5. Nothing blocks the loop: processes start and end in a thread. One task may open the executor and
   another one close it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Final, Self

from flowsync.errors import SettingsError
from flowsync.model.measures import MOST_WORKERS, problem_with_count
from flowsync.runtime.executor import Executor, Work, always_wanted
from flowsync.runtime.process_pool import ProcessPool
from flowsync.runtime.tasks import in_thread
from flowsync.runtime.worker_line import WorkRequest

TRIES: Final = 3
"""Workers that are lost over a request before it is given up."""

MOST_SETBACKS: Final = 3
"""Starts in a row from which nothing comes."""

PATIENCE: Final = 5.0
"""Seconds that a worker has to end work that is not wanted: much more than the moment that it needs
to hear of it, less than a person waits for Ctrl-C.
"""

_CLOSED: Final = "the worker processes are closed"

_log = logging.getLogger(__name__)


class LocalProcesses(Executor):
    """An executor of `workers` processes. `warm_up` is called in each when it starts; it imports
    what the work needs.

    `patience` is how many seconds a worker has to end work that is not wanted. With `instead`,
    threads do the work where no process can be had; a warning begins with these words. Raises
    `SettingsError` for less than one worker, and for more than a thousand.
    """

    shares_files = True

    def __init__(
        self,
        workers: int,
        warm_up: Callable[[], object],
        *,
        patience: float = PATIENCE,
        instead: str = "",
    ) -> None:
        if problem_with_count(workers, 1, MOST_WORKERS) is not None:
            raise SettingsError(f"at least 1 worker process is needed, found {workers}")
        self._workers = workers
        self._warm_up = warm_up
        self._patience = patience
        self._instead = instead
        self._waiting: deque[WorkRequest] = deque()
        self._one_is_alone = False
        self._pool: ProcessPool | None = None
        self._starting: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._setbacks = 0
        self._has_answered = False
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def workers(self) -> int:
        return self._workers

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers that run now."""
        return () if self._pool is None else self._pool.pids

    def start_soon(self) -> None:
        """Let the workers start in the background, unless they have."""
        if self._pool is None and self._starting is None and not (self._threads or self._closed):
            self._starting = asyncio.create_task(self._start())

    def submit(
        self, work: Work, request: bytes, *, tries: int = TRIES, alone: bool = False
    ) -> "asyncio.Future[bytes]":
        """Send a request; see `Executor.submit`. It is given up when `tries` workers were lost over
        it. With `alone` it goes when nothing else is on its way, as all do from the second time on.
        """
        if self._closed:
            raise BrokenExecutor(_CLOSED)
        asked = WorkRequest(work, request, tries, alone=alone)
        self._waiting.append(asked)
        self._hand_out()
        return asked.reply

    async def cancel(self, reply: "asyncio.Future[bytes]") -> None:
        pool = self._pool
        if pool is not None and pool.take_back(reply):
            await asyncio.wait((reply,), timeout=self._patience)
            if not reply.done():
                reply.cancel()
                pool.lose("a worker did not end work that was not wanted")
                await self._ended()
        elif any(asked.reply is reply for asked in self._waiting):
            reply.cancel()
        else:
            # In a thread, or answered.
            await asyncio.wait((reply,))

    async def close(self) -> None:
        """Kill the workers and wait for them; what threads are at is waited for."""
        self._closed = True
        self._give_up_waiting(_CLOSED)
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait((self._starting,))
            self._starting = None
        if self._pool is not None:
            self._pool.lose(_CLOSED)
        await self._ended()
        if self._threads is not None:
            await in_thread(partial(self._threads.shutdown, cancel_futures=True))

    async def _start(self) -> None:
        """Start the workers, again and again if need be."""
        while True:
            await self._ended()
            pool = ProcessPool(self._answered, self._lost)
            try:
                await pool.start(self._workers, self._warm_up)
            except Exception as error:  # noqa: BLE001 -- whatever it is, there are no workers
                if self._set_back(error):
                    break
            else:
                self._pool, self._has_answered = pool, False
                break
        self._starting = None
        self._hand_out()

    def _hand_out(self) -> None:
        """Let go what waits, as long as there is room."""
        while self._waiting:
            first = self._waiting[0]
            if not first.reply.done():
                if self._threads is not None:
                    self._do_in_thread(first)
                elif self._pool is None:
                    self.start_soon()
                    return
                elif not self._send(self._pool, first):
                    return
            self._waiting.popleft()

    def _send(self, pool: ProcessPool, asked: WorkRequest) -> bool:
        if (asked.alone or self._one_is_alone) and not pool.is_idle:
            return False
        self._one_is_alone = asked.alone
        return pool.send(asked)

    def _answered(self) -> None:
        if self._pool is not None:
            self._setbacks, self._has_answered = 0, True
            self._hand_out()

    def _lost(self, pool: ProcessPool, reason: str, abandoned: list[WorkRequest]) -> None:
        """Let go of the workers, and send again what they had not answered."""
        if pool is not self._pool:  # they die while they start, and `start` says so
            for asked in abandoned:
                asked.fail(BrokenExecutor(reason))
            return
        self._pool = None
        ending = asyncio.create_task(pool.stop())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        for asked in reversed(abandoned):
            self._send_again(asked, reason)
        if not (abandoned or self._has_answered or self._closed):
            self._set_back(BrokenExecutor(reason))
        self._hand_out()

    def _send_again(self, asked: WorkRequest, reason: str) -> None:
        asked.losses += 1
        asked.alone = True
        if self._closed or asked.tries == 1:
            asked.fail(BrokenExecutor(reason))
        elif asked.losses >= asked.tries:
            asked.fail(
                BrokenExecutor(
                    f"the worker processes were lost {asked.losses} times over it, "
                    f"at last because {reason}"
                )
            )
        else:
            self._waiting.appendleft(asked)

    def _set_back(self, error: Exception) -> bool:
        """Count workers from which nothing came; say whether there will be no others for what waits
        now.
        """
        self._setbacks += 1
        if self._setbacks < MOST_SETBACKS or self._closed:
            return False
        self._setbacks = 0
        if self._instead:
            self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="flowsync-worker")
            _log.warning("%s: %s", self._instead, error)
        else:
            self._give_up_waiting(f"worker processes cannot be started: {error}")
        return True

    def _give_up_waiting(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for asked in waiting:
            asked.fail(BrokenExecutor(reason))

    def _do_in_thread(self, asked: WorkRequest) -> None:
        """Let a thread do it; where not even a thread can be had, do it at once."""
        loop = asyncio.get_running_loop()
        arguments = (asked.body, always_wanted)
        try:
            done = loop.run_in_executor(self._threads, asked.work, *arguments)
        except RuntimeError:
            done = loop.create_future()
            try:
                done.set_result(asked.work(*arguments))
            except Exception as error:  # noqa: BLE001 -- raised where the reply is waited for
                done.set_exception(error)
        done.add_done_callback(partial(_hand_over, asked))

    async def _ended(self) -> None:
        """Wait until no worker is left of those that were lost."""
        while self._ending:
            await asyncio.wait(self._ending)


def _hand_over(asked: WorkRequest, done: "asyncio.Future[bytes]") -> None:
    error = BrokenExecutor(_CLOSED) if done.cancelled() else done.exception()
    if error is None:
        asked.answer(done.result())
    else:
        asked.fail(error)
