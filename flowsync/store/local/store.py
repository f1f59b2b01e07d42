"""The blob store on a local file system.

Below `root` stand `blake3/`, the fan-out folders, `staging/`, and after a damage `quarantine/`, on
one file system, so that a rename moves bytes from one to the other. Several processes may have the
same root open. Crash-only: opening removes the staging folders of dead processes and old partials,
and nothing else ever needs repair.

Also here: the lock of those who store against those who remove, the id of a store, and its reader.
The store opens with all of them.
"""

import asyncio
import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, aclosing, asynccontextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from flowsync.errors import BlobMissingError, StoreError, StoreUnwritableError
from flowsync.model.artifact import StagedArtifact
from flowsync.runtime.tasks import in_thread, opened_in_thread
from flowsync.store.durability import flush, make_folder, store_errors
from flowsync.store.local.shelves import Quarantine, Shelves
from flowsync.store.local.writer import BatchWriter, Commits, WriteTarget
from flowsync.store.port import LARGEST_CHUNK, BlobReader, BlobState, StoreUsage
from flowsync.store.staging import StagingArea, lock

# The lock between those who store and record blobs and those who remove them.
#
# 1. Any number may store and record at once, in any number of processes; a remover is alone.
# 2. A writer holds the lock from before it looks which blobs are there until they are
#    recorded. So a remover knows that each blob is either recorded or of no use.
# 3. Removing is never starved: who wants to remove stops the turnstile that all pass on the
#    way in, and waits only for those inside.
# 4. The kernel gives the lock of a killed process back.
#
# The reasons stand in docs/decisions/0010.

_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.02
"""Seconds between two tries to get in: a batch of removals takes some tens of milliseconds."""


class Guard:
    """The two lock files in `folder`. Any number of tasks and threads may use it at once; each time
    it is held is on its own.
    """

    def __init__(self, folder: str) -> None:
        self._turnstile = f"{folder}/turnstile.lock"
        self._room = f"{folder}/blobs.lock"

    @asynccontextmanager
    async def storing(self) -> AsyncIterator[None]:
        """Keep removers out while the block runs. A task inside must not ask for `removing`."""
        turnstile, room = _Lock(self._turnstile), _Lock(self._room)
        try:
            await _wait_for(_enter, turnstile, room)
            yield
        finally:
            await in_thread(_release, turnstile, room)

    @asynccontextmanager
    async def removing(self) -> AsyncIterator[None]:
        """Be alone while the block runs."""
        turnstile, room = _Lock(self._turnstile), _Lock(self._room)
        try:
            await _wait_for(turnstile.take, fcntl.LOCK_EX)
            await _wait_for(room.take, fcntl.LOCK_EX)
            yield
        finally:
            await in_thread(_release, turnstile, room)


class _Lock:
    """One hold on a lock file. Its methods run in threads, one at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self, kind: int) -> bool:
        """Take the lock if it can be had at once."""
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return lock(self._fd, kind, self._path)

    def release(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            # Unlocked, not only closed: a child that was forked meanwhile has the descriptor too.
            try:
                fcntl.flock(fd, fcntl.LOCK_UN)
            finally:
                os.close(fd)


def _enter(turnstile: _Lock, room: _Lock) -> bool:
    if not turnstile.take(fcntl.LOCK_SH):
        return False
    entered = room.take(fcntl.LOCK_SH)
    turnstile.release()
    return entered


def _release(*locks: _Lock) -> None:
    for each in locks:
        each.release()


async def _wait_for(take: Callable[..., bool], *arguments: object) -> None:
    pause = _FIRST_PAUSE
    with store_errors("locking the store"):
        while not await in_thread(take, *arguments):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


# The id of a store: one line in a file of its folder, which says what the store is called in the
# catalog of its bytes.


def identity_file(root: str) -> str:
    """Return where the id of the store in the folder is kept."""
    return f"{root}/identity"


def read_identity(root: str) -> UUID | None:
    """Return the id of the store, if it has one. Raise `StoreError` when it cannot be read."""
    path = identity_file(root)
    with store_errors(f"reading the id of the store in {root}"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read(100).strip()
        except FileNotFoundError:
            return None
    try:
        return UUID(text)
    except ValueError:
        raise StoreError(f"{path} holds no id of a store, found {text!r}") from None


def write_identity(root: str, identity: UUID) -> None:
    """Give the store an id, durably. Raise `StoreError` when it cannot be written."""
    path = identity_file(root)
    with store_errors(f"writing the id of the store in {root}"):
        handle, fresh = tempfile.mkstemp(prefix=".identity-", dir=root)
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(f"{identity}\n")
            flush(fresh)
            os.replace(fresh, path)
        except BaseException:
            os.unlink(fresh)
            raise
        flush(root)


# Reads blobs that are files, a chunk a job of a thread.


@asynccontextmanager
async def read_file(path: str, start: int, stop: int | None) -> AsyncIterator[BlobReader]:
    """Read a part of the file of a blob, as `BlobStore.reading` says."""
    doing = f"reading the blob {path}"
    with store_errors(doing):
        try:
            file, size = await opened_in_thread(
                _open, path, close=lambda opened: os.close(opened[0])
            )
        except FileNotFoundError as error:
            raise BlobMissingError(f"{doing}: there is none") from error
    try:
        end = size if stop is None else min(stop, size)
        async with aclosing(_chunks(file, start, end, doing)) as chunks:
            yield BlobReader(size, chunks)
    finally:
        await in_thread(os.close, file)


def _open(path: str) -> tuple[int, int]:
    """Return the descriptor and the size of the file."""
    # What stands there may be no file: opening a pipe must not wait.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no file")
    except BaseException:
        os.close(file)
        raise
    return file, found.st_size


async def _chunks(file: int, offset: int, end: int, doing: str) -> AsyncGenerator[bytes, None]:
    while offset < end:
        with store_errors(doing):
            chunk = await in_thread(os.pread, file, min(LARGEST_CHUNK, end - offset), offset)
        if not chunk:
            raise StoreError(f"{doing}: it has become shorter, and ends at byte {offset} of {end}")
        offset += len(chunk)
        yield chunk


class LocalBlobStore:
    """A `BlobStore` in a folder; open it with `async with LocalBlobStore(root) as store`.

    Opening creates the folders and raises `StoreUnwritableError`, naming the folder, when it
    cannot. All waiting for the disk is done in threads, or in a worker process once there is much
    to write (`flowsync.store.local.writer`).
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.abspath(root)
        self._shelves = Shelves(f"{self._root}/blake3")
        self._staging = StagingArea(f"{self._root}/staging")
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

    @property
    def name(self) -> str:
        """See `BlobStore.name`."""
        return self._root

    @property
    def identity_place(self) -> str:
        """See `BlobStore.identity_place`."""
        return identity_file(self._root)

    async def identity(self) -> UUID | None:
        """See `BlobStore.identity`."""
        return await in_thread(read_identity, self._root)

    async def set_identity(self, identity: UUID) -> None:
        """See `BlobStore.set_identity`."""
        await in_thread(write_identity, self._root, identity)

    async def persist(self, artifacts: Sequence[StagedArtifact]) -> None:
        """See `BlobStore.persist`. Raise `StoreError` also when a staged file lies outside of this
        store's staging folders.
        """
        if self._commits is None:
            raise StoreError(f"the store in {self._root} is not open")
        await self._commits.make(artifacts)

    def local(self, blake3: str) -> str:
        """Return where the file of the blob is, or would be."""
        return self._shelves.path(blake3)

    def reading(
        self, blake3: str, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[BlobReader]:
        """See `BlobStore.reading`."""
        return read_file(self._shelves.path(blake3), start, stop)

    async def missing(self, names: Sequence[str]) -> set[str]:
        """See `BlobStore.missing`."""
        return await in_thread(self._shelves.missing, names)

    async def usage(self) -> StoreUsage:
        """See `BlobStore.usage`."""
        return await in_thread(self._measure)

    def staging(self) -> AbstractAsyncContextManager[str]:
        """See `BlobStore.staging`. Only what is staged below this folder can be persisted without
        copying.
        """
        return self._staging.folder()

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
        return await self._staging.dead(remove=remove)

    def _states(self, names: Sequence[str]) -> list[BlobState | None]:
        return [self._shelves.state(name) for name in names]

    def _prepare(self) -> BatchWriter:
        with store_errors(f"opening the store in {self._root}", otherwise=StoreUnwritableError):
            make_folder(self._shelves.root)
            self._staging.tidy()
            scratch = self._held.enter_context(self._staging.held_folder())
            return BatchWriter(WriteTarget(self._shelves.root, self._staging.parent, scratch))

    def _measure(self) -> StoreUsage:
        with store_errors(f"measuring the store in {self._shelves.root}"):
            return self._shelves.usage()


def _take(names: Iterator[str], count: int) -> list[str]:
    return list(islice(names, count))
