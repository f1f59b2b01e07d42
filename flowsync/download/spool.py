"""Where a body waits: in memory while it is small, in a private file when it grows.

1. Nothing here blocks the loop: chunks are collected to blocks of a mebibyte, and a thread writes (and, where asked, hashes) a block while the
   next one arrives. A body held in memory costs no thread at all.
2. A spool holds two blocks at most beyond what its file has.
3. `discard` leaves nothing behind, also when a write is under way in its thread; so does `restart`.

Decided: names come from 12 random bytes and the file is opened exclusively, because `mkstemp` costs as much as writing a small file.
"""

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import BinaryIO, Final, Protocol, cast

from blake3 import blake3

from flowsync.model.errors import StoreError, StoreFullError, StoreUnwritableError

BLOCK: Final = 1 << 20
"""Bytes collected before a thread writes them."""


def fresh_path(folder: str) -> str:
    """Return the path of a file in `folder` that does not exist, in no process and on no machine that shares the folder."""
    return f"{folder}/{os.urandom(12).hex()}"


class Spool:
    """Holds one body: in `body` up to `memory_limit` bytes, beyond that in the file `path` in `folder`. A limit of 0 means always a file.

    Made and discarded by whoever wants the body; used by one task at a time. `finish` sets either `body` or `path`, and `digests`, in hexadecimal, of
    the `algorithms`. `size` counts the bytes taken so far.

    Raises `StoreFullError`, `StoreUnwritableError` or `StoreError` where the file system refuses. After that, and when its user is cancelled,
    `discard` is due.
    """

    def __init__(self, folder: str, memory_limit: int, algorithms: Sequence[str] = ()) -> None:
        self.body: bytes | None = None
        self.path: str | None = None
        self.size = 0
        self.digests: dict[str, str] = {}
        self._folder = folder
        self._memory_limit = memory_limit
        self._algorithms = algorithms
        self._block: list[bytes] = []
        self._block_size = 0
        self._file: _SpoolFile | None = None
        self._writing: asyncio.Future[None] | None = None

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes; wait only while the block before this one is still being written."""
        self._block.append(chunk)
        self._block_size += len(chunk)
        self.size += len(chunk)
        if self._block_size >= BLOCK and self.size > self._memory_limit:
            await self._written()
            self._writing = self._in_thread(self._open().append, self._take_block())

    async def finish(self) -> None:
        """Bring all bytes to where they stay, and close the file."""
        if self._file is None and self.size <= self._memory_limit and self._memory_limit > 0:
            self.body = b"".join(self._take_block())
            self.digests = _digest([self.body], self._algorithms)
            return
        await self._written()
        file = self._open()
        self._writing = self._in_thread(file.finish, self._take_block())
        await self._written()
        self.path, self.digests = file.path, file.digests

    async def restart(self) -> None:
        """Forget all bytes, also after `finish`."""
        await self.discard()

    async def discard(self) -> None:
        """Remove the file, if there is one, once no thread writes to it any more."""
        self.body, self.path, self.size, self.digests = None, None, 0, {}
        self._block, self._block_size = [], 0
        writing, self._writing = self._writing, None
        file, self._file = self._file, None
        if writing is not None:
            writing.add_done_callback(_retrieve)
        if file is not None:
            # Shielded: the file goes even if whoever discards is cancelled while it waits.
            await asyncio.shield(self._in_thread(file.remove))

    def _open(self) -> "_SpoolFile":
        if self._file is None:
            self._file = _SpoolFile(fresh_path(self._folder), self._algorithms)
        return self._file

    def _take_block(self) -> list[bytes]:
        block, self._block, self._block_size = self._block, [], 0
        return block

    async def _written(self) -> None:
        if self._writing is not None:
            await self._writing
            self._writing = None

    @staticmethod
    def _in_thread(work: Callable[..., None], *arguments: list[bytes]) -> asyncio.Future[None]:
        return asyncio.get_running_loop().run_in_executor(None, work, *arguments)


class _SpoolFile:
    """The file of a spool. Its methods run in threads, one at a time; after `remove` they do nothing."""

    def __init__(self, path: str, algorithms: Sequence[str]) -> None:
        self.path = path
        self.digests: dict[str, str] = {}
        self._hashers = {algorithm: _hasher(algorithm) for algorithm in algorithms}
        self._stream: BinaryIO | None = None
        self._removed = False
        # A thread cannot be cancelled: `remove` waits here for a write that its awaiter has given up.
        self._lock = Lock()

    def append(self, block: list[bytes]) -> None:
        with self._lock:
            self._append(block)

    def finish(self, block: list[bytes]) -> None:
        with self._lock:
            self._append(block)
            if self._stream is not None:
                self._close(self._stream)
            self.digests = {name: hasher.hexdigest() for name, hasher in self._hashers.items()}

    def remove(self) -> None:
        with self._lock:
            self._removed = True
            if self._stream is not None:
                # What the buffer still holds is lost on purpose; closing it may fail on a full disk.
                with suppress(OSError):
                    self._stream.close()
                with suppress(FileNotFoundError):
                    os.unlink(self.path)

    def _append(self, block: list[bytes]) -> None:
        if self._removed:
            return
        try:
            if self._stream is None:
                self._stream = open(self.path, "xb", opener=_open_private)  # noqa: SIM115 -- closed by finish or remove
            self._stream.writelines(block)
        except OSError as error:
            raise _store_error(self.path, error) from error
        for hasher in self._hashers.values():
            for chunk in block:
                hasher.update(chunk)

    def _close(self, stream: BinaryIO) -> None:
        try:
            stream.close()
        except OSError as error:
            raise _store_error(self.path, error) from error


class _Hasher(Protocol):
    def update(self, data: bytes, /) -> object: ...

    def hexdigest(self) -> str: ...


def _digest(chunks: Sequence[bytes], algorithms: Sequence[str]) -> dict[str, str]:
    found = {}
    for algorithm in algorithms:
        hasher = _hasher(algorithm)
        for chunk in chunks:
            hasher.update(chunk)
        found[algorithm] = hasher.hexdigest()
    return found


def _hasher(algorithm: str) -> _Hasher:
    if algorithm == "blake3":
        return cast(_Hasher, blake3())
    return hashlib.new(algorithm, usedforsecurity=False)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _store_error(path: str, error: OSError) -> StoreError:
    text = f"cannot write {path}: {error.strerror or error}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFullError(text)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR}:
        return StoreUnwritableError(text)
    return StoreError(text)


def _retrieve(future: asyncio.Future[None]) -> None:
    # The error of a write that nobody waits for any more.
    if not future.cancelled():
        future.exception()
