"""Work that several requests wait for: begun once a key, in a task that belongs to the server and
not to a request.

1. Whoever asks while it is under way joins it; whoever asks when it has ended begins anew.
2. A request that ends, however it ends, stops nothing; the server's end does.
3. A failure is told to all who wait, and to nobody when nobody waits.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """The work of one kind that is under way. `group` owns the tasks; used by the tasks of one
    loop.
    """

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._under_way: dict[K, asyncio.Future[V]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, key: K) -> asyncio.Future[V] | None:
        """Return the work of that key, if it is under way."""
        return self._under_way.get(key)

    def begin(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Future[V]:
        """Return the work of that key, which begins now unless it is under way. Await it
        shielded.
        """
        future = self._under_way.get(key)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            future.add_done_callback(_heard)
            self._under_way[key] = future
            task = self._group.create_task(self._run(key, future, work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    def stop(self) -> None:
        """Cancel all that is under way; whoever owns the group waits for it."""
        for task in self._tasks:
            task.cancel()

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Wait for the work of that key, which begins now unless it is under way, and return its
        result or raise its failure.
        """
        return await asyncio.shield(self.begin(key, work))

    async def _run(
        self, key: K, future: asyncio.Future[V], work: Callable[[], Coroutine[Any, Any, V]]
    ) -> None:
        try:
            result = await work()
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - told to those who wait; the server goes on
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            del self._under_way[key]


def _heard(future: asyncio.Future[Any]) -> None:
    """Nobody may be waiting any more; then the loop shall not complain about a failure that nobody
    saw.
    """
    if not future.cancelled():
        future.exception()
