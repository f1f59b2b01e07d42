"""Hashing off the event loop: paths go to worker processes in batches, digests come back.

1. Only paths, algorithms, sizes and digests cross the process boundary, never bytes.
2. A batch leaves as soon as a worker has room, with all that waits by then
   (`flowsync.digest.backlog`). There is no timer: a lone path leaves at once, and under load
   batches grow by themselves.
3. Waiters are independent: one that is cancelled, or whose file is gone, harms no other.
4. A worker that dies takes its crew down; another crew starts, and what was in flight is hashed
   again, path by path and with no other in flight, so that a path which kills workers is found out:
   at its third worker it is given up.
5. Where three crews in a row fail to start, or die before anything came back, threads of this
   process do the work from then on, and the log says so.
6. Nothing blocks the loop: processes start and end in a thread. The hasher may be opened and closed
   in different tasks.

Bodies up to `INLINE_LIMIT` are better hashed inline (`bench/digest/bench_threshold.py`; 2 cores; µs
of CPU a body that the loop cannot use, then of all processes):

    body       inline         worker, one at a time   worker, 64 at a time
     16 KiB       13 / 13        119 / 177                 6 / 27
     64 KiB       44 / 44        124 / 215                 9 / 62
    128 KiB       89 / 89        119 / 243                11 / 107
    256 KiB      169 / 169       112 / 323                17 / 195
      1 MiB      681 / 681       153 / 887                67 / 781

Decided: 128 KiB, which lies between two answers. With full batches a worker is worth its CPU from
32 KiB on; alone, a body is dearer in a worker up to 180 KiB, even for the loop, and a loop that is
busy downloading sends mostly lone bodies.

Decided: processes, not threads, though a thread costs an idle loop less (22 µs at 64 KiB, 190 µs at
16 MiB): beside a busy loop it waits for the interpreter lock after each piece, and takes it from
the loop. Files of 16 MiB were hashed at 570 MB/s in a thread, the loop having half of its time; in
a worker at 890 MB/s, the loop having 72 % (`bench/digest/bench_busy_loop.py`). With no core to
spare the two are alike.
"""

import asyncio
import logging
import os
from concurrent.futures import BrokenExecutor
from functools import partial
from types import TracebackType
from typing import Final, Self

from flowsync.digest.backlog import Backlog, Job
from flowsync.digest.hashing import complete
from flowsync.digest.worker import Answer, digest_batch
from flowsync.errors import HashingError, SettingsError, StoreError
from flowsync.runtime import descriptors
from flowsync.runtime.process_pool import Crew, ThreadCrew, Workers

INLINE_LIMIT: Final = 128 * 1024
"""Bytes up to which a body in memory is better hashed by whoever holds it."""

_log = logging.getLogger(__name__)

_MAX_WORKERS = 8
_MAX_FAILURES = 3


class Hasher:
    """The hash workers of an engine: opened with it, closed with it, shared by all its syncs, used
    from one event loop.

    The processes start with the first file, `workers` of them; by default one less than there are
    cores, since one is busy with the loop, and at most eight. `inline_limit` tells callers up to
    how many bytes they do better to call `digest_bytes` themselves.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise SettingsError(f"a hasher needs at least 1 worker, found {workers}")
        self.inline_limit = INLINE_LIMIT
        self._workers = workers or _default_workers()
        self._backlog = Backlog()
        self._crew: Workers | None = None
        self._starting: asyncio.Task[Workers] | None = None
        self._broken: Workers | None = None
        self._setbacks = 0
        self._due = False
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
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the workers; empty before the first file."""
        return self._crew.pids if self._crew else ()

    async def digest(
        self, path: str, algorithms: frozenset[str], *, size: int | None = None
    ) -> tuple[int, dict[str, str]]:
        """Return the size in bytes and the digests of the file at an absolute path: those asked
        for, sha256 and BLAKE3.

        `size` (bytes) only helps to form batches; without it the file is asked for it. Raise
        `StoreError` when the file cannot be read, `HashingError` when workers die of it or the
        hasher is closed, `DeclarationError` for an unknown algorithm.
        """
        digests = len(complete(algorithms))
        known = _size_of(path) if size is None else size
        if self._closed:
            raise _closed_error(path)
        loop = asyncio.get_running_loop()
        job = Job((path, algorithms), known, digests, loop.create_future())
        self._backlog.add(job)
        self._dispatch_soon(loop)
        answer = await job.waiter
        if isinstance(answer, Exception):
            raise _unreadable(path, answer) from answer
        return answer

    async def close(self) -> None:
        """End the workers and wait for them. Whoever still awaits a digest gets a `HashingError`.
        Closing twice is closing once.
        """
        self._closed = True
        for job in self._backlog.drain():
            job.fail(_closed_error(job.path))
        if self._starting is not None:
            await asyncio.wait([self._starting])
        crews = [crew for crew in (self._broken, self._crew) if crew is not None]
        self._broken = self._crew = None
        for crew in crews:
            await crew.stop()

    def _dispatch_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        # At the end of this turn of the loop, so that paths which come in one turn leave in one
        # batch.
        if not self._due:
            self._due = True
            loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Let batches leave while there is room, and start a crew when there is none."""
        self._due = False
        while (job := self._backlog.first()) is not None:
            if self._crew is None:
                self._start_crew()
                return
            # What may have killed a worker takes all the room.
            room = self._crew.slots if job.lost else 1
            if self._crew.free < room:
                return
            self._send(self._crew, self._backlog.take(), room)

    def _start_crew(self) -> None:
        if self._starting is None:
            self._starting = asyncio.create_task(self._next_crew(self._broken))
            self._starting.add_done_callback(self._crew_started)
            self._broken = None

    def _crew_started(self, starting: asyncio.Task[Workers]) -> None:
        self._starting = None
        if starting.cancelled():  # the loop ends
            return
        error = starting.exception()
        if error is None:
            self._crew = starting.result()
        else:
            self._set_back(error)
        self._dispatch()

    def _send(self, crew: Workers, batch: list[Job], room: int) -> None:
        try:
            sent = crew.submit(digest_batch, [job.request for job in batch])
        except BrokenExecutor as error:  # a worker died while it was idle
            self._backlog.put_back(batch)
            self._retire(crew)
            self._set_back(error)
            return
        crew.free -= room
        sent.add_done_callback(partial(self._returned, crew, batch, room))

    def _returned(
        self, crew: Workers, batch: list[Job], room: int, sent: asyncio.Future[list[Answer]]
    ) -> None:
        """Hand out the answers of a batch, or put it back when a worker died."""
        crew.free += room
        error = BrokenExecutor("stopped") if sent.cancelled() else sent.exception()
        if error is None:
            self._setbacks = 0
            for job, answer in zip(batch, sent.result(), strict=True):
                job.answer(answer)
        else:
            if isinstance(error, BrokenExecutor):
                self._retire(crew)
            self._backlog.put_back(self._to_try_again(batch, error))
        self._dispatch()

    def _retire(self, crew: Workers) -> None:
        # All batches of a broken crew come back; the first one retires it.
        if self._crew is crew:
            self._crew, self._broken = None, crew

    def _to_try_again(self, batch: list[Job], error: BaseException) -> list[Job]:
        """Fail the jobs of a lost batch that are beyond hope; return the others."""
        hopeful = []
        for job in batch:
            job.lost += 1
            if self._closed:
                job.fail(_closed_error(job.path))
            elif job.lost == _MAX_FAILURES:
                job.fail(_worn_out(job.path, error))
            else:
                hopeful.append(job)
        return hopeful

    def _set_back(self, error: BaseException) -> None:
        """Count a crew that did nothing; at the third in a row, go on in threads."""
        self._setbacks += 1
        if self._setbacks == _MAX_FAILURES and not self._closed:
            self._setbacks = 0
            self._crew = ThreadCrew(self._workers)
            _log.warning(
                "hash workers cannot be had, hashing goes on in threads, which takes longer: %s",
                error,
            )

    async def _next_crew(self, broken: Workers | None) -> Workers:
        if broken is not None:
            await broken.stop()
        return await Crew.start(self._workers, partial(digest_batch, ()))


def _default_workers() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores - 1, _MAX_WORKERS, descriptors.workers()))


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError | ValueError) -> StoreError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return StoreError(f"hashing {path}: {reason}")


def _closed_error(path: str) -> HashingError:
    return HashingError(f"hashing {path}: the hash workers are closed")


def _worn_out(path: str, error: BaseException) -> HashingError:
    failure = HashingError(
        f"hashing {path}: the hash workers failed {_MAX_FAILURES} times, at last with {error!r}"
    )
    failure.__cause__ = error
    return failure
