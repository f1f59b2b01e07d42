"""Reads blobs that are files, a chunk a job of a thread."""

import errno
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from flowsync.errors import BlobMissingError, StoreError
from flowsync.runtime.threads import in_thread, opened_in_thread
from flowsync.store.failures import store_errors
from flowsync.store.port import LARGEST_CHUNK, BlobReader


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
