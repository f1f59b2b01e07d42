"""Look-ups of paths, put together: what is asked while a question is at the database goes there
with the next one.

One request alone waits for nothing. Of many at once, each costs its share of a round trip and of a
pooled connection instead of one of each (`bench/serving`). At most `LANES` questions are at the
database at a time.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

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
