"""Paths that wait to be hashed, and the rule by which they leave in batches.

1. First come, first served. What was on its way when a worker died goes to the front again, and
   from then on travels alone: it may be what the worker died of, and the others must not share its
   fate.
2. A batch holds what is waiting, up to a number of bytes, so that no worker is busy for long while
   another is idle, and up to a number of digests. A file larger than the bytes leaves alone.
3. A waiter that gave up costs nothing more, unless its path has left already.

A batch costs the parent about 100 µs of CPU, and each path in it 5 to 10, so beyond some dozens of
paths, or some milliseconds of work, a larger batch gains nothing.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from flowsync.digest.hashing import Answer, Request

BATCH_BYTES: Final = 8 * 1024 * 1024
"""Bytes a batch may hold; about 5 ms of work."""

BATCH_DIGESTS: Final = 128
"""Digests a batch may ask for: 64 paths of two algorithms."""


class Job:
    """One path that a task awaits. `size` is in bytes; `was_lost` says that it was on its way when
    a worker died.
    """

    __slots__ = ("digests", "request", "size", "waiter", "was_lost")

    def __init__(
        self, request: Request, size: int, digests: int, waiter: asyncio.Future[Answer]
    ) -> None:
        self.request = request
        self.size = size
        self.digests = digests
        self.waiter = waiter
        self.was_lost = False

    @property
    def path(self) -> str:
        """The file to hash."""
        return self.request[0]

    def answer(self, answer: Answer) -> None:
        """Hand the answer to the waiter, if it still waits."""
        if not self.waiter.done():
            self.waiter.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Raise `error` in the waiter, if it still waits."""
        if not self.waiter.done():
            self.waiter.set_exception(error)


class Backlog:
    """The jobs of one hasher that have not left yet."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Put a job at the end."""
        self._jobs.append(job)

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Put jobs that had left to the front again, in their order."""
        self._jobs.extendleft(reversed(list(jobs)))

    def first(self) -> Job | None:
        """Return the job that leaves next, or `None` when none waits."""
        while self._jobs and self._jobs[0].waiter.done():
            self._jobs.popleft()
        return self._jobs[0] if self._jobs else None

    def take(self) -> list[Job]:
        """Remove and return the next batch; empty when none waits."""
        batch: list[Job] = []
        size = digests = 0
        while job := self.first():
            size += job.size
            digests += job.digests
            full = size > BATCH_BYTES or digests > BATCH_DIGESTS
            if batch and (full or job.was_lost or batch[0].was_lost):
                break
            batch.append(self._jobs.popleft())
        return batch

    def drain(self) -> list[Job]:
        """Remove and return all jobs."""
        jobs = list(self._jobs)
        self._jobs.clear()
        return jobs
