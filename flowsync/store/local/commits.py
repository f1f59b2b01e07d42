"""Batches of several syncs that become durable together: what comes while another is written waits,
and goes with all that waits.

One batch alone waits for nothing. Of many at once, each costs its share of the flushes instead of
flushes of its own. What fails together is tried again one by one, so that a batch fails for reasons
of its own only.

Decisions: docs/decisions/0009.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from flowsync.model.artifact import StagedArtifact

_MOST: Final = 2000
"""Blobs from which on no further batch joins."""


class _Batch(msgspec.Struct, eq=False):
    artifacts: Sequence[StagedArtifact]
    durable: "asyncio.Future[None]"


class Commits:
    """What one open store has to make durable.

    `persist` does it, ends only when nobody works on it any more, and can be called again with what
    it failed on.
    """

    def __init__(self, persist: Callable[[Sequence[StagedArtifact]], Awaitable[None]]) -> None:
        self._persist = persist
        self._waiting: deque[_Batch] = deque()
        self._task: asyncio.Task[None] | None = None

    async def make(self, artifacts: Sequence[StagedArtifact]) -> None:
        """Return when the artifacts are durable; raise what `persist` raises. When cancelled, first
        wait until nobody works on them.
        """
        batch = _Batch(artifacts, asyncio.get_running_loop().create_future())
        self._waiting.append(batch)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all())
        try:
            await asyncio.wait((batch.durable,))
        except asyncio.CancelledError:
            if batch in self._waiting:
                self._waiting.remove(batch)
            else:
                await asyncio.wait((batch.durable,))
            raise
        batch.durable.result()

    async def _write_all(self) -> None:
        taken: list[_Batch] = []
        try:
            while self._waiting:
                taken = self._take()
                await self._write(taken)
        except asyncio.CancelledError:
            # The loop ends, and everybody with it.
            for batch in (*taken, *self._waiting):
                batch.durable.cancel()
            raise

    def _take(self) -> list[_Batch]:
        taken = [self._waiting.popleft()]
        blobs = len(taken[0].artifacts)
        while self._waiting and blobs < _MOST:
            taken.append(self._waiting.popleft())
            blobs += len(taken[-1].artifacts)
        return taken

    async def _write(self, batches: list[_Batch]) -> None:
        try:
            await self._persist([one for batch in batches for one in batch.artifacts])
        except Exception as error:  # noqa: BLE001 - for those who wait
            if len(batches) > 1:
                for batch in batches:
                    await self._write([batch])
            else:
                batches[0].durable.set_exception(error)
                # Whoever was cancelled meanwhile does not ask.
                batches[0].durable.exception()
        else:
            for batch in batches:
                batch.durable.set_result(None)
