"""The writing of batches: from verified bytes at hand to durable blobs.

1. Order: look which blobs are there already, write small bodies into scratch files, barrier, rename
   all, barrier, remove what is left over.
2. Blobs that were there already pass the second barrier too: another process may have renamed them
   a moment ago and not be through yet.
3. Only files below the store's own staging are moved or removed. A path elsewhere is its maker's
   own file and is refused.
4. A failed batch removes its scratch files and leaves staged files to the run they belong to, so it
   can be tried again.

Also here: what runs in the worker process, who writes, and batches that become durable together.
They are one batch on its way through a thread or a process.
"""

import asyncio
import logging
import os
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager
from functools import cache
from itertools import count
from typing import Final

import msgspec

from flowsync.errors import StoreError
from flowsync.model.artifact import StagedArtifact
from flowsync.runtime.local_processes import LocalProcesses
from flowsync.runtime.tasks import finished, in_thread
from flowsync.store.durability import Barrier, barriers, go_on_without, store_errors
from flowsync.store.local.shelves import Shelves

_READ_ONLY = 0o444


class Writer:
    """Persists the batches of one open store; several threads may do so at once.

    `staging` is the folder below which staged files must lie, `scratch` a private folder on the
    same file system, and `open_barrier` opens the barrier for a batch of so many blobs.
    """

    def __init__(
        self,
        shelves: Shelves,
        *,
        staging: str,
        scratch: str,
        open_barrier: Callable[[int], AbstractContextManager[Barrier]],
    ) -> None:
        self._shelves = shelves
        self._staging = staging + os.sep
        self._scratch = scratch
        self._serial = count()
        self._open_barrier = open_barrier

    def persist(self, artifacts: Sequence[StagedArtifact]) -> None:
        """Make the artifacts durable under their names, as `BlobStore.persist` promises."""
        wanted: dict[str, StagedArtifact] = {}
        for artifact in artifacts:
            wanted.setdefault(_name(artifact), artifact)
        if not wanted:
            return
        staged = {path for artifact in artifacts if (path := self._staged(artifact)) is not None}
        with store_errors(f"storing {len(wanted)} blobs in {self._shelves.root}"):
            staged -= self._store(wanted)
            _remove(staged)

    def _store(self, wanted: dict[str, StagedArtifact]) -> set[str]:
        """Store what is not there yet and return the staged files that were moved for it."""
        absent = {
            name: artifact
            for name, artifact in wanted.items()
            if not self._shelves.holds(name, artifact.size)
        }
        bodies = {name: a.body for name, a in absent.items() if a.body is not None}
        written = {name: f"{self._scratch}/{next(self._serial)}" for name in bodies}
        moved = {
            name: a.file for name, a in absent.items() if a.body is None and a.file is not None
        }
        with self._open_barrier(len(wanted)) as durable:
            try:
                for name, path in written.items():
                    _write(path, bodies[name])
                for path in moved.values():
                    _make_read_only(path, path)
                durable.files(written.values(), moved.values())
                self._place({**written, **moved}, wanted, durable)
            except BaseException:
                _remove(written.values())
                raise
        return set(moved.values())

    def _place(self, sources: dict[str, str], wanted: Iterable[str], durable: Barrier) -> None:
        for name, source in sources.items():
            self._shelves.place(source, name)
        folders = {self._shelves.folder(name) for name in wanted}
        durable.folders([*folders, self._shelves.root])

    def _staged(self, artifact: StagedArtifact) -> str | None:
        if artifact.body is not None:
            return None
        if artifact.file is None:
            raise StoreError(f"blob {artifact.blake3} cannot be stored: it has no bytes at hand")
        if not artifact.file.startswith(self._staging):
            raise StoreError(
                f"blob {artifact.blake3} cannot be stored: {artifact.file} is not below "
                f"{self._staging}"
            )
        return artifact.file


def _name(artifact: StagedArtifact) -> str:
    if artifact.blake3 is None:
        raise StoreError(
            f"an artifact of {artifact.size} bytes cannot be stored: its BLAKE3 is not known"
        )
    return artifact.blake3


def _write(path: str, body: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _READ_ONLY)
    try:
        # A disk that is nearly full takes a part; the next call then says that it is full.
        written = os.write(fd, body)
        while written < len(body):
            written += os.write(fd, memoryview(body)[written:])
        # The mode given to open is narrowed by the umask.
        _make_read_only(fd, path)
    finally:
        os.close(fd)


def _make_read_only(file: int | str, path: str) -> None:
    try:
        os.chmod(file, _READ_ONLY)
    except OSError as error:
        go_on_without("cannot make files read-only", path, error)


def _remove(paths: Iterable[str]) -> None:
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue


# What runs in the store's worker process: one batch of artifacts after the other, made durable; and
# the site at which both sides write.


class WriteTarget(msgspec.Struct, frozen=True):
    """Where an open store writes: the root of its shelves, the folder of all staging, and a private
    folder on the same file system.
    """

    root: str
    staging: str
    scratch: str

    def writer(self) -> Writer:
        """Return a writer for this site. Writers of other processes need a site with a private
        folder of their own.
        """
        return Writer(
            Shelves(self.root),
            staging=self.staging,
            scratch=self.scratch,
            open_barrier=barriers(self.scratch),
        )


class _Batch(msgspec.Struct, frozen=True, array_like=True):
    site: WriteTarget
    artifacts: Sequence[StagedArtifact]


_decode = msgspec.msgpack.Decoder(_Batch).decode


def pack(site: WriteTarget, artifacts: Sequence[StagedArtifact]) -> bytes:
    """Return a batch in the form in which it crosses to the worker; `site` is that of the parent
    process.
    """
    return msgspec.msgpack.encode(_Batch(site, artifacts))


def persist_packed(packed: bytes, _: Callable[[], bool]) -> bytes:
    """Make a packed batch durable, as `Writer.persist` does."""
    batch = _decode(packed)
    _writer(batch.site).persist(batch.artifacts)
    return b""


def warm_up() -> None:
    """Leave it to the parent to tell what a file system lacks: it has, when it wrote the first
    files.
    """
    logging.getLogger("flowsync").addHandler(logging.NullHandler())


@cache
def _writer(site: WriteTarget) -> Writer:
    # The parent's private folder has files of its own; what is left in it goes with it.
    with store_errors(f"making a folder in {site.scratch}"):
        own = tempfile.mkdtemp(dir=site.scratch)
    return msgspec.structs.replace(site, scratch=own).writer()


# Who writes the batches of an open store: a thread, or a worker process for batches of small files.
#
# 1. A small file costs six system calls, each of which gives the interpreter lock away and waits to
#    have it back. Beside a loop that is busy downloading these waits take about as long as the
#    calls, and they come out of the loop's time too. A process has a lock of its own.
# 2. The process starts when the store has written `START_AFTER` files in batches that are worth it,
#    and only then: few files never pay for it. It starts while a thread goes on writing.
# 3. What crosses are the bodies, packed once, `MOST_BYTES` a batch, through memory that both
#    processes see; large bodies keep a thread in few calls anyway. Staged files cross as paths.
# 4. A worker that dies loses nothing: a batch can always be written again (`Writer.persist`), and a
#    thread does it at once. The next worker starts after as many files as the first.
#
# Decided: a process writes the batches (docs/decisions/0009).

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
    the opener of the store.
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
        until nothing works on them.
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


# Batches of several syncs that become durable together: what comes while another is written waits,
# and goes with all that waits.
#
# One batch alone waits for nothing. Of many at once, each costs its share of the flushes instead of
# flushes of its own. What fails together is tried again one by one, so that a batch fails for
# reasons of its own only.
#
# The reasons stand in docs/decisions/0009.

_MOST: Final = 2000
"""Blobs from which on no further batch joins."""


class _DurableBatch(msgspec.Struct, eq=False):
    artifacts: Sequence[StagedArtifact]
    durable: "asyncio.Future[None]"


class Commits:
    """What one open store has to make durable.

    `persist` does it, ends only when nothing works on it any more, and can be called again with
    what it failed on.
    """

    def __init__(self, persist: Callable[[Sequence[StagedArtifact]], Awaitable[None]]) -> None:
        self._persist = persist
        self._waiting: deque[_DurableBatch] = deque()
        self._task: asyncio.Task[None] | None = None

    async def make(self, artifacts: Sequence[StagedArtifact]) -> None:
        """Return when the artifacts are durable; raise what `persist` raises. When cancelled, first
        wait until nothing works on them.
        """
        batch = _DurableBatch(artifacts, asyncio.get_running_loop().create_future())
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
        taken: list[_DurableBatch] = []
        try:
            while self._waiting:
                taken = self._take()
                await self._write(taken)
        except asyncio.CancelledError:
            # The loop ends, and all that wait with it.
            for batch in (*taken, *self._waiting):
                batch.durable.cancel()
            raise

    def _take(self) -> list[_DurableBatch]:
        taken = [self._waiting.popleft()]
        blobs = len(taken[0].artifacts)
        while self._waiting and blobs < _MOST:
            taken.append(self._waiting.popleft())
            blobs += len(taken[-1].artifacts)
        return taken

    async def _write(self, batches: list[_DurableBatch]) -> None:
        try:
            await self._persist([one for batch in batches for one in batch.artifacts])
        except Exception as error:  # noqa: BLE001 - for those who wait
            if len(batches) > 1:
                for batch in batches:
                    await self._write([batch])
            else:
                batches[0].durable.set_exception(error)
                # A task that was cancelled meanwhile does not ask.
                batches[0].durable.exception()
        else:
            for batch in batches:
                batch.durable.set_result(None)
