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
"""

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from typing import Final

from flowsync.model.artifact import StagedArtifact
from flowsync.runtime.local_processes import LocalProcesses
from flowsync.runtime.threads import finished, in_thread
from flowsync.store.local.writer_process import WriteTarget, pack, persist_packed, warm_up

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
