"""Hashing off the event loop: paths go to worker processes in batches, digests come back.

1. Only paths, algorithms, sizes and digests cross the process boundary, never bytes.
2. A batch leaves as soon as a worker has room, with all that waits by then
   (`flowsync.digest.backlog`). There is no timer: a lone path leaves at once, and under load
   batches grow by themselves.
3. Waiters are independent: one that is cancelled, or whose file is gone, harms no other.
4. What was in flight when a worker died is hashed again, path by path and with no other in flight,
   so that a path which kills workers is found out: at its third worker it is given up.
5. Where no worker can be had, threads of this process do the work, and the log says so
   (`flowsync.runtime.local_processes`).
6. The hasher may be opened and closed in different tasks.

Decisions: docs/decisions/0008.
"""

import asyncio
import os
from concurrent.futures import BrokenExecutor
from functools import partial
from types import TracebackType
from typing import Final, Self

from flowsync.digest.backlog import Backlog, Job
from flowsync.digest.hashing import complete, digest_batch, digest_file, pack_batch, unpack_answers
from flowsync.errors import HashingError, SettingsError, StoreError
from flowsync.runtime import descriptors
from flowsync.runtime.local_processes import TRIES, LocalProcesses

INLINE_LIMIT: Final = 128 * 1024
"""Bytes up to which a body in memory is better hashed by its holder."""

_MAX_WORKERS = 8
_INSTEAD = "hash workers cannot be had, hashing goes on in threads, which takes longer"


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
        self._processes = LocalProcesses(
            workers or _default_workers(), partial(pack_batch, ()), instead=_INSTEAD
        )
        # One more than workers, so that each has its next batch as soon as it has answered.
        self._room = self._processes.workers + 1
        self._backlog = Backlog()
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
        return self._processes.pids

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
        """End the workers and wait for them. What still awaits a digest gets a `HashingError`.
        Closing twice is closing once.
        """
        self._closed = True
        for job in self._backlog.drain():
            job.fail(_closed_error(job.path))
        await self._processes.close()

    def _dispatch_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        # At the end of this turn of the loop, so that paths which come in one turn leave in one
        # batch.
        if not self._due:
            self._due = True
            loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Let batches leave while there is room."""
        self._due = False
        while self._room and (first := self._backlog.first()) is not None:
            batch = self._backlog.take()
            try:
                sent = self._processes.submit(
                    digest_batch,
                    pack_batch([job.request for job in batch]),
                    # What may have killed a worker has two more to kill, and no job beside it.
                    tries=TRIES - 1 if first.was_lost else 1,
                    alone=first.was_lost,
                )
            except BrokenExecutor as error:  # closed
                self._set_back(batch, error)
            else:
                self._room -= 1
                sent.add_done_callback(partial(self._returned, batch))

    def _returned(self, batch: list[Job], sent: asyncio.Future[bytes]) -> None:
        """Hand out the answers of a batch, or put it back when a worker died."""
        self._room += 1
        error = BrokenExecutor("cancelled") if sent.cancelled() else sent.exception()
        if error is None:
            for job, answer in zip(batch, unpack_answers(sent.result()), strict=True):
                job.answer(answer)
        else:
            self._set_back(batch, error)
        self._dispatch()

    def _set_back(self, batch: list[Job], error: BaseException) -> None:
        """Put the jobs of a lost batch back to go one by one; fail one that has."""
        if self._closed:
            for job in batch:
                job.fail(_closed_error(job.path))
        elif batch[0].was_lost:
            batch[0].fail(_worn_out(batch[0].path, error))
        else:
            for job in batch:
                job.was_lost = True
            self._backlog.put_back(batch)


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
        f"hashing {path}: the hash workers failed {TRIES} times, at last with {error!r}"
    )
    failure.__cause__ = error
    return failure


# Hashing where there is no pool of hash workers: in a process that is itself a worker, one of
# several.


class InlineHasher:
    """Does what a `Hasher` does, in a thread of its own process: others keep the remaining cores
    busy.
    """

    inline_limit = INLINE_LIMIT

    async def digest(
        self, path: str, algorithms: frozenset[str], *, size: int | None = None
    ) -> tuple[int, dict[str, str]]:
        """Return size in bytes and digests as `Hasher.digest` does. Raise `StoreError` and
        `DeclarationError` as it does.
        """
        try:
            return await asyncio.to_thread(digest_file, path, algorithms)
        except OSError as error:
            raise StoreError(f"hashing {path}: {error.strerror}") from error
