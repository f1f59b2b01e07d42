"""Who writes the batches of an open store: a thread, or a worker process for batches of small
files.

1. A small file costs six system calls, each of which gives the interpreter lock away and waits to
   have it back. Beside a loop that is busy downloading these waits take about as long as the calls,
   and they come out of the loop's time too. A process has a lock of its own.
2. The process starts when the store has written `START_AFTER` files in batches that are worth it,
   and only then: few files never pay for it. It starts while a thread goes on writing.
3. What crosses are the bodies, packed once, `MOST_BYTES` a batch, through memory that both
   processes see; large bodies keep a thread in few calls anyway. Staged files cross as paths.
4. A worker that dies loses nothing: a batch can always be written again (`Writer.persist`), and a
   thread does it at once. The next worker starts after as many files as the first.

Decided: a process writes the batches (docs/decisions/0009).

Batches of several syncs that become durable together: what comes while another is written waits,
and goes with all that waits.

One batch alone waits for nothing. Of many at once, each costs its share of the flushes instead of
flushes of its own. What fails together is tried again one by one, so that a batch fails for reasons
of its own only.

Decisions: docs/decisions/0009.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import BrokenExecutor
from typing import Final

import msgspec

from flowsync.model.artifact import StagedArtifact
from flowsync.runtime.local_processes import LocalProcesses
from flowsync.runtime.threads import finished, in_thread
from flowsync.store.local.writer import WriteTarget, pack, persist_packed, warm_up

START_AFTER: Final = 1000
"""Files after which a worker starts. Chosen, not measured: a thread writes them in half a second or
so.
"""

LARGE: Final = 8
"""Artifacts from which a batch is worth the way to the worker: at 4 it still wrote twice as many a
second as a thread, but what is that small is soon written.
"""

MOST_BYTES: Final = 16 << 20
"""Bytes of bodies up to which a batch crosses; it is copied on its way, so this bounds memory.
Chosen, not measured.
"""


class BatchWriter:
    """Writes at one site. Several tasks of one loop may have it write at once; closed once, by
    whoever opened the store.
    """

    def __init__(self, site: WriteTarget) -> None:
        self._site = site
        self._writer = site.writer()
        self._written = 0
        self._process = LocalProcesses(1, warm_up)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process id of the worker, if there is one now."""
        return self._process.pids

    async def persist(self, artifacts: Sequence[StagedArtifact]) -> None:
        """Make the artifacts durable, as `BlobStore.persist` promises. When cancelled, first wait
        until nobody works on them.
        """
        if not (_is_large(artifacts) and await self._persist_elsewhere(artifacts)):
            await in_thread(self._writer.persist, artifacts)

    async def close(self) -> None:
        """End the worker and wait for it."""
        await self._process.close()

    async def _persist_elsewhere(self, artifacts: Sequence[StagedArtifact]) -> bool:
        """Have the worker write, if there is one; say whether it did."""
        if not self._process.pids:
            self._start_when_due(len(artifacts))
            return False
        try:
            packed = pack(self._site, artifacts)
            await finished(self._process.submit(persist_packed, packed, tries=1))
        except BrokenExecutor:
            return False
        return True

    def _start_when_due(self, written: int) -> None:
        self._written += written
        if self._written > START_AFTER:
            self._written = 0
            self._process.start_soon()


def _is_large(artifacts: Sequence[StagedArtifact]) -> bool:
    if len(artifacts) < LARGE:
        return False
    return sum(len(artifact.body) for artifact in artifacts if artifact.body) <= MOST_BYTES


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
