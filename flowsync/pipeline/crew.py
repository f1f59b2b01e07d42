"""A crew of worker processes, from its start to the first death in it.

An executor of processes is broken for good when one of its workers dies; so is a crew, and whoever uses it starts another one. A crew has one
slot more than workers: the work in it waits in the pipe, so that a worker finds its next work while the parent still notes the last one.
"""

from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import ParamSpec, TypeVar

from flowsync.pipeline.spawning import WorkerContext
from flowsync.pipeline.worker_life import settle_in

P = ParamSpec("P")
T = TypeVar("T")


class Crew:
    """Running workers, warm once the constructor returns. `free` counts the slots that nothing is in; whoever sends work keeps it.

    `warm_up` is called in every worker; it imports what the work needs. Constructor and `stop` block for some tens of milliseconds and belong in a
    thread. The constructor raises what starting a process can raise: `OSError`, `BrokenExecutor`.
    """

    def __init__(self, workers: int, warm_up: Callable[[], object]) -> None:
        self.free = self.slots = workers + 1
        self._context = WorkerContext()
        self._executor = ProcessPoolExecutor(
            workers, mp_context=self._context, initializer=settle_in
        )
        try:
            # The executor starts a worker whenever work comes and none is idle: so many calls at once start all.
            for warm in [self._executor.submit(warm_up) for _ in range(workers)]:
                warm.result()
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers."""
        return tuple(process.pid for process in self._context.started if process.pid is not None)

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand work to the next worker. Raise `BrokenExecutor` when a worker has died."""
        return self._executor.submit(work, *args, **kwargs)

    def stop(self) -> None:
        """Kill the workers and wait for them. What they do must bear that: it is what happens in a crash anyway.

        Asking them to go is not safe: when one of them was killed from outside while it held the lock of the shared queue, the others wait for that
        lock for ever, and whoever waits for them does too.
        """
        for process in self._context.started:
            if process.pid is not None:
                process.kill()
        self._executor.shutdown()
