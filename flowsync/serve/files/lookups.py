"""Look-ups of paths, put together: what is asked while a question is at the database goes there
with the next one.

One request alone waits for nothing. Of many at once, each costs its share of a round trip and of a
pooled connection instead of one of each (`bench/serving`). At most `LANES` questions are at the
database at a time.

Work that several requests wait for: begun once a key, in a task that belongs to the server and
not to a request.

1. Whoever asks while it is under way joins it; whoever asks when it has ended begins anew.
2. A request that ends, however it ends, stops nothing; the server's end does.
3. A failure is told to all who wait, and to nobody when nobody waits.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, Final, Generic, TypeVar

from flowsync.catalog.queries.served_paths import PathQuestion, ServedFile, Serving
from flowsync.errors import CatalogError, CatalogUnavailableError

LANES: Final = 2
_MOST: Final = 200
"""Paths of one question."""

_log = logging.getLogger(__name__)

_Found = ServedFile | CatalogError | None


class LookUps:
    """The look-ups of one server. `group` owns the tasks that ask; `patience` (seconds) bounds each
    question. What is found of units of the types that are `described` has their fields.
    """

    def __init__(
        self,
        serving: Serving,
        group: asyncio.TaskGroup,
        patience: float,
        described: Sequence[str] = (),
    ) -> None:
        self._serving = serving
        self._group = group
        self._patience = patience
        self._described = described
        self._lanes = 0
        self._waiting: deque[tuple[PathQuestion, asyncio.Future[_Found]]] = deque()

    async def find(self, question: PathQuestion) -> ServedFile | None:
        """Return what the version has at the path, as `Serving.find` does, and raise what it
        raises.
        """
        answer: asyncio.Future[_Found] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._lanes < LANES:
            self._lanes += 1
            self._group.create_task(self._ask_all())
        found = await answer
        if isinstance(found, CatalogError):
            raise found
        return found

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                count = min(len(self._waiting), _MOST)
                batch = [self._waiting.popleft() for _ in range(count)]
                found = await self._ask([question for question, _ in batch])
                for (_, answer), one in zip(batch, found, strict=True):
                    if not answer.done():
                        answer.set_result(one)
        finally:
            # In the same step in which nothing was waiting any more: whoever comes next opens a
            # lane.
            self._lanes -= 1

    async def _ask(self, questions: list[PathQuestion]) -> list[_Found]:
        try:
            async with asyncio.timeout(self._patience):
                return await self._serving.find_all(questions, self._described)
        except TimeoutError:
            late = CatalogUnavailableError(f"no answer within {self._patience:g} s")
            return [late] * len(questions)
        except CatalogError as failure:
            return [failure] * len(questions)
        except Exception as failure:  # noqa: BLE001 - see below
            # A bug: those who asked are told, and the server goes on.
            _log.exception("cannot look up %d paths", len(questions))
            return [CatalogError(f"looking up paths: {failure!r}")] * len(questions)


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
