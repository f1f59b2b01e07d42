"""Staging folders: where bytes live before they have a name.

1. A run has one staging folder, `<parent>/<unique>/`, and holds the lock `<parent>/<unique>.lock`
   as long as it lives.
2. The lock is taken before the folder is made and removed after the folder is gone; so a folder
   whose lock can be had is of the dead, and a folder without one does not occur.
3. Only the dead are tidied away, by whoever opens the store next.
4. What a run has not stored goes with its folder, except large bodies that are whole
   (`flowsync.store.partials`).

The lock is a file beside the folder, not the folder itself, because network file systems lock only
what is open for writing.

Blobs as files of this machine, whatever the store is.

1. A copy is made of bytes whose BLAKE3 is the name of the blob, or not at all.
2. Copies are made some at a time. Memory holds a chunk of each.
3. What opens and writes files runs in threads.
"""

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from typing import BinaryIO, Final, TypeVar

from blake3 import blake3

from flowsync.errors import BlobDamagedError, BlobMissingError
from flowsync.runtime.task_groups import task_group
from flowsync.runtime.threads import in_thread, opened_in_thread
from flowsync.store.durability import make_folder
from flowsync.store.failures import store_errors
from flowsync.store.partials import claim, remove_old, rescue
from flowsync.store.port import BlobStore, StoreUsage

_LOCK: Final = ".lock"


class StagingArea:
    """All staging folders of one store, below `parent`. Any number of tasks and processes may use
    it at once. Stores of any kind keep one.
    """

    def __init__(self, parent: str) -> None:
        self.parent = parent

    def tidy(self) -> None:
        """Make the area if it is not there, and remove what the dead left and old partials. It
        blocks, and raises `OSError`.
        """
        make_folder(self.parent)
        remove_dead(self.parent)
        remove_old(self.parent)

    def held_folder(self) -> AbstractContextManager[str]:
        """Give a folder as `folder` does, to a thread."""
        # The area may have been removed since the store was opened.
        make_folder(self.parent)
        return staging_folder(self.parent)

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[str]:
        """Give a run its folder, as `BlobStore.staging` says."""
        held = ExitStack()
        try:
            with store_errors(f"making a staging folder in {self.parent}"):
                folder = await in_thread(lambda: held.enter_context(self.held_folder()))
            yield folder
        finally:
            await in_thread(held.close)

    async def dead(self, *, remove: bool) -> StoreUsage:
        """Count what the dead left, and perhaps remove it, as `BlobStore.dead_staging` says."""
        with store_errors(f"tidying up {self.parent}"):
            return await in_thread(lambda: dead_usage(self.parent, remove=remove))


@contextmanager
def staging_folder(parent: str) -> Iterator[str]:
    """Give a new private folder below `parent` and hold its lock; remove it with all that is left
    in it but whole bodies.
    """
    folder, lock = _claim_new(parent)
    try:
        os.mkdir(folder, 0o700)
        yield folder
    finally:
        _discard(folder, lock)


def remove_dead(parent: str) -> None:
    """Remove the staging folders below `parent` that no living process holds."""
    for path in _locks(parent):
        lock = claim(path)
        if lock is not None:
            _discard(path.removesuffix(_LOCK), lock)


def dead_usage(parent: str, *, remove: bool) -> StoreUsage:
    """Count the folders below `parent` that no living process holds and the bytes in them, and
    perhaps remove them.
    """
    folders = size = 0
    for path in _locks(parent):
        lock = claim(path)
        if lock is None:
            continue
        folder = path.removesuffix(_LOCK)
        folders += 1
        size += _size(folder)
        if remove:
            _discard(folder, lock)
        else:
            os.close(lock)
    return StoreUsage(folders, size)


def _locks(parent: str) -> list[str]:
    with os.scandir(parent) as entries:
        return [entry.path for entry in entries if entry.name.endswith(_LOCK)]


def _size(folder: str) -> int:
    return sum(
        os.lstat(os.path.join(parent, name)).st_size
        for parent, _, names in os.walk(folder)
        for name in names
    )


def _claim_new(parent: str) -> tuple[str, int]:
    # Someone who tidies may get the lock between its creation and our claim. Then this one is
    # theirs; take another.
    while True:
        folder = f"{parent}/{secrets.token_hex(8)}"
        lock = claim(folder + _LOCK, os.O_CREAT | os.O_EXCL)
        if lock is not None:
            return folder, lock


def _discard(folder: str, lock: int) -> None:
    try:
        rescue(folder)
        shutil.rmtree(folder, ignore_errors=True)
        # What could not be removed keeps its lock file, and is tried again by the next who tidies.
        if not os.path.lexists(folder):
            with suppress(FileNotFoundError):
                os.unlink(folder + _LOCK)
    finally:
        os.close(lock)


COPIES_AT_ONCE: Final = 32
"""Blobs that are copied at a time."""

T = TypeVar("T")

_ANY_NAME: Final = "0" * 64


def has_local_files(store: BlobStore) -> bool:
    """Say whether the blobs of the store are files of this machine."""
    return store.local(_ANY_NAME) is not None


async def bring(store: BlobStore, names: Iterable[str], folder: str) -> dict[str, str]:
    """Return files that hold the blobs, by their names, to be read and not to be changed: those of
    the store where it has some, or else new ones in `folder`, which are the caller's.

    A blob that is missing or damaged is not among the copies. Raise `StoreError` when the store or
    the folder cannot be used.
    """
    wanted = dict.fromkeys(names)
    files = {name: path for name in wanted if (path := store.local(name)) is not None}

    async def copy_one(name: str) -> None:
        path = f"{folder}/{name}.{secrets.token_hex(8)}"
        with suppress(BlobMissingError, BlobDamagedError):
            await _copy_to(store, name, path)
            files[name] = path

    await for_each([name for name in wanted if name not in files], copy_one)
    return files


async def copy_blob(store: BlobStore, name: str, create: Callable[[], BinaryIO]) -> int:
    """Write the blob into the file that `create` opens, in a thread, and close it; return its size
    in bytes.

    Raise `BlobMissingError` before the file is made. Raise `BlobDamagedError` when the bytes have
    another digest, `StoreError` when they cannot be read, and `OSError` when they cannot be
    written; the file is worth nothing then.
    """
    async with store.reading(name) as reader:
        copy = await opened_in_thread(_Copy, create, close=_Copy.close)
        try:
            async for chunk in reader.chunks:
                await in_thread(copy.write, chunk)
        finally:
            await in_thread(copy.close)
    if copy.digest != name:
        raise BlobDamagedError(
            f"blob {name} of {store.name} is damaged: "
            f"its {copy.size} bytes have blake3 {copy.digest}"
        )
    return copy.size


async def for_each(items: Sequence[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work for all items, for `COPIES_AT_ONCE` at a time. Raise the first error."""
    left: Iterator[T] = iter(items)

    async def work_on() -> None:
        for item in left:
            await work(item)

    async with task_group() as group:
        for _ in range(min(COPIES_AT_ONCE, len(items))):
            group.create_task(work_on())


async def _copy_to(store: BlobStore, name: str, path: str) -> None:
    with store_errors(f"copying blob {name} to {path}"):
        try:
            await copy_blob(store, name, partial(_create, path))
        except BaseException:
            await in_thread(_remove, path)
            raise


def _create(path: str) -> BinaryIO:
    return open(path, "xb")


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


class _Copy:
    """A file that is being written; its methods block."""

    def __init__(self, create: Callable[[], BinaryIO]) -> None:
        self.size = 0
        self._hasher = blake3()
        self._file = create()

    @property
    def digest(self) -> str:
        return self._hasher.hexdigest()

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._hasher.update(chunk)
        self.size += len(chunk)

    def close(self) -> None:
        self._file.close()
