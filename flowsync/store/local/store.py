"""The blob store on a local file system.

Below `root` stand `blake3/`, the fan-out folders, `staging/`, and after a damage `quarantine/`, on
one file system, so that a rename moves bytes from one to the other. Several processes may have the
same root open. Crash-only: opening removes the staging folders of dead processes and old partials,
and nothing else ever needs repair.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from flowsync.errors import BlobMissingError, StoreError, StoreUnwritableError
from flowsync.model.artifact import StagedArtifact
from flowsync.runtime.threads import in_thread
from flowsync.store.durability import make_folder
from flowsync.store.failures import store_errors
from flowsync.store.local.batch_writer import BatchWriter
from flowsync.store.local.commits import Commits
from flowsync.store.local.guard import Guard
from flowsync.store.local.quarantine import Quarantine
from flowsync.store.local.shelves import Shelves
from flowsync.store.local.writer_process import WriteTarget
from flowsync.store.partials import remove_old
from flowsync.store.port import BlobState, StoreUsage
from flowsync.store.staging import dead_usage, remove_dead, staging_folder


class LocalBlobStore:
    """A `BlobStore` in a folder; open it with `async with LocalBlobStore(root) as store`.

    Opening creates the folders and raises `StoreUnwritableError`, naming the folder, when it
    cannot. All waiting for the disk is done in threads, or in a worker process once there is much
    to write (`flowsync.store.local.batch_writer`).
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.abspath(root)
        self._shelves = Shelves(f"{self._root}/blake3")
        self._staging = f"{self._root}/staging"
        self._quarantine = Quarantine(f"{self._root}/quarantine")
        self._guard = Guard(self._root)
        self._held = ExitStack()
        self._batch_writer: BatchWriter | None = None
        self._commits: Commits | None = None

    async def __aenter__(self) -> Self:
        try:
            self._batch_writer = await in_thread(self._prepare)
            self._commits = Commits(self._batch_writer.persist)
        except BaseException:
            await in_thread(self._held.close)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        writer, self._batch_writer, self._commits = self._batch_writer, None, None
        try:
            if writer is not None:
                await writer.close()
        finally:
            await in_thread(self._held.close)

    async def persist(self, artifacts: Sequence[StagedArtifact]) -> None:
        """See `BlobStore.persist`. Raise `StoreError` also when a staged file lies outside of this
        store's staging folders.
        """
        if self._commits is None:
            raise StoreError(f"the store in {self._root} is not open")
        await self._commits.make(artifacts)

    def path(self, blake3: str) -> str:
        """Return where the file of the blob is, or would be."""
        return self._shelves.path(blake3)

    def open(self, blake3: str) -> BinaryIO:
        """See `BlobStore.open`."""
        with store_errors(f"reading blob {blake3}"):
            try:
                return open(self._shelves.path(blake3), "rb")
            except FileNotFoundError as error:
                raise BlobMissingError(f"no blob {blake3} in {self._shelves.root}") from error

    async def missing(self, names: Sequence[str]) -> set[str]:
        """See `BlobStore.missing`."""
        return await in_thread(self._shelves.missing, names)

    async def usage(self) -> StoreUsage:
        """See `BlobStore.usage`."""
        return await in_thread(self._measure)

    @asynccontextmanager
    async def staging(self) -> AsyncIterator[str]:
        """See `BlobStore.staging`. Only what is staged below this folder can be persisted without
        copying.
        """
        held = ExitStack()
        try:
            with store_errors(f"making a staging folder in {self._staging}"):
                folder = await in_thread(self._stage, held)
            yield folder
        finally:
            await in_thread(held.close)

    def storing(self) -> AbstractAsyncContextManager[None]:
        """See `BlobStore.storing`."""
        return self._guard.storing()

    def removing(self) -> AbstractAsyncContextManager[None]:
        """See `BlobStore.removing`."""
        return self._guard.removing()

    async def states(self, names: Sequence[str]) -> list[BlobState | None]:
        """See `BlobStore.states`."""
        return await in_thread(self._states, names)

    async def names(self, batch_size: int) -> AsyncGenerator[list[str], None]:
        """See `BlobStore.names`."""
        names = self._shelves.names()
        with store_errors(f"listing the blobs in {self._shelves.root}"):
            while batch := await in_thread(_take, names, batch_size):
                yield batch

    async def remove(self, names: Sequence[str]) -> dict[str, str]:
        """See `BlobStore.remove`."""
        return await in_thread(self._shelves.remove, names)

    async def quarantine(self, names: Sequence[str]) -> dict[str, str]:
        """See `BlobStore.quarantine`."""
        with store_errors(f"moving damaged blobs to {self._quarantine.root}"):
            return await in_thread(self._quarantine.take, self._shelves, names)

    async def restore(self, names: Sequence[str]) -> set[str]:
        """See `BlobStore.restore`."""
        with store_errors(f"putting blobs back from {self._quarantine.root}"):
            found = await in_thread(self._quarantine.right, names)
            if not found:
                return set()
            async with self.removing():
                return await in_thread(self._quarantine.put_back, self._shelves, found)

    async def release(self, names: Sequence[str]) -> None:
        """See `BlobStore.release`."""
        with store_errors(f"removing damaged blobs from {self._quarantine.root}"):
            await in_thread(self._quarantine.release, names)

    async def dead_staging(self, *, remove: bool) -> StoreUsage:
        """See `BlobStore.dead_staging`."""
        with store_errors(f"tidying up {self._staging}"):
            return await in_thread(lambda: dead_usage(self._staging, remove=remove))

    def _states(self, names: Sequence[str]) -> list[BlobState | None]:
        return [self._shelves.state(name) for name in names]

    def _prepare(self) -> BatchWriter:
        with store_errors(f"opening the store in {self._root}", otherwise=StoreUnwritableError):
            make_folder(self._shelves.root)
            make_folder(self._staging)
            remove_dead(self._staging)
            remove_old(self._staging)
            scratch = self._held.enter_context(staging_folder(self._staging))
            return BatchWriter(WriteTarget(self._shelves.root, self._staging, scratch))

    def _stage(self, held: ExitStack) -> str:
        # The folder may have been removed since the store was opened.
        make_folder(self._staging)
        return held.enter_context(staging_folder(self._staging))

    def _measure(self) -> StoreUsage:
        with store_errors(f"measuring the store in {self._shelves.root}"):
            return self._shelves.usage()


def _take(names: Iterator[str], count: int) -> list[str]:
    return list(islice(names, count))
