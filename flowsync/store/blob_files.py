"""Blobs as files of this machine, whatever the store is.

1. A copy is made of bytes whose BLAKE3 is the name of the blob, or not at all.
2. Copies are made some at a time. Memory holds a chunk of each.
3. What opens and writes files runs in threads.
"""

import os
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import BinaryIO, Final, TypeVar

from blake3 import blake3

from flowsync.errors import BlobDamagedError, BlobMissingError
from flowsync.runtime.task_groups import task_group
from flowsync.runtime.threads import in_thread, opened_in_thread
from flowsync.store.failures import store_errors
from flowsync.store.port import BlobStore

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
