"""The worker processes of a hasher, from their start to the first death among them.

An executor of processes is broken for good when one of its workers dies; so is a crew, and the hasher starts another one. A crew has one
slot more than workers: the batch in it waits in the pipe, so that a worker finds its next batch while the parent still notes the last one.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor

from flowsync.digest.spawning import WorkerContext
from flowsync.digest.worker import Answer, Request, digest_batch, settle_in


class Crew:
    """Running workers, warm once the constructor returns. `free` counts the slots that no batch is in; the hasher keeps it.

    Constructor and `stop` block for some tens of milliseconds and belong in a thread. The constructor raises what starting a process can
    raise: `OSError`, `BrokenExecutor`.
    """

    def __init__(self, workers: int) -> None:
        self.free = self.slots = workers + 1
        self._context = WorkerContext()
        self._executor = ProcessPoolExecutor(
            workers, mp_context=self._context, initializer=settle_in
        )
        try:
            # The executor starts a worker whenever work comes and none is idle: so many empty batches at once start all.
            for warm in [self._executor.submit(digest_batch, ()) for _ in range(workers)]:
                warm.result()
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers."""
        return tuple(process.pid for process in self._context.started if process.pid is not None)

    def send(self, requests: Sequence[Request]) -> Future[list[Answer]]:
        """Hand a batch to the next worker. Raise `BrokenExecutor` when a worker has died."""
        return self._executor.submit(digest_batch, requests)

    def stop(self) -> None:
        """Kill the workers and wait for them. They only read, so nothing is left half done; and a large file does not hold up the end.

        Asking them to go is not safe: when one of them was killed from outside while it held the lock of the shared queue, the others wait for that
        lock for ever, and whoever waits for them does too.
        """
        for process in self._context.started:
            if process.pid is not None:
                process.kill()
        self._executor.shutdown()
