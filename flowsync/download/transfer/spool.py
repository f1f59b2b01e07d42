"""Where a body waits: in memory while it is small, in a private file when it grows.

1. Nothing here blocks the loop: chunks are collected to blocks of a mebibyte, and a thread writes
   (and, where asked, hashes) a block while the next one arrives. A body held in memory costs no
   thread at all.
2. A spool holds two blocks at most beyond what its file has, and nothing of what a thread fills it
   with.
3. `discard` leaves nothing behind, also when a write is under way in its thread; so does `restart`.
   `keep` leaves the file, for a later run to go on from.

One module: the spool alone decides when a body leaves memory for its file.
"""

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any, BinaryIO, Final, Protocol, cast

from blake3 import blake3

from flowsync.errors import StoreError, StoreFullError, StoreUnwritableError
from flowsync.model.remote import Fill, Held, Pour
from flowsync.runtime.tasks import in_thread

# The file of a spool: written, hashed, closed and removed in threads.
#
# The reasons stand in docs/decisions/0012.


class SpoolFile:
    """The file of a spool, opened with its first bytes. Its methods run in threads, one at a time;
    after `remove` and `keep` they do nothing.

    Without `opening`, `path` is made, and must not exist. A file that holds bytes already is not
    hashed; `size` counts what it has. `behind` gets the descriptor after each `fill`.
    """

    def __init__(
        self,
        path: str,
        algorithms: Collection[str],
        *,
        opening: Callable[[], BinaryIO] | None = None,
        size: int = 0,
        behind: Callable[[int], None] | None = None,
    ) -> None:
        self.path = path
        self.digests: dict[str, str] = {}
        self._opening = opening or partial(_create, path)
        self.size = size
        self._behind = behind
        self._hashers = {algorithm: _hasher(algorithm) for algorithm in algorithms}
        self._stream: BinaryIO | None = None
        self._ended = False
        # A thread cannot be cancelled: who ends the file waits here for a write that its awaiter
        # has given up.
        self._lock = Lock()

    def append(self, block: list[bytes]) -> None:
        with self._lock:
            self._append(block)

    def fill(self, block: list[bytes], pour: Pour) -> None:
        """Append the block, and what `pour` writes."""
        with self._lock:
            self._append(block)
            if self._ended or self._stream is None:
                return
            descriptor = self._stream.fileno()
            try:
                self._stream.flush()
                self.size += pour(descriptor, [one.update for one in self._hashers.values()])
            except OSError as error:
                raise store_error(self.path, error) from error
            if self._behind is not None:
                self._behind(descriptor)

    def finish(self, block: list[bytes]) -> None:
        with self._lock:
            self._append(block)
            if self._stream is not None:
                self._close(self._stream)
            self.digests = {name: hasher.hexdigest() for name, hasher in self._hashers.items()}

    def remove(self) -> None:
        with self._lock:
            self._ended = True
            if self._stream is not None:
                # What the buffer still holds is lost on purpose; closing it may fail on a full
                # disk.
                with suppress(OSError):
                    self._stream.close()
                with suppress(FileNotFoundError):
                    os.unlink(self.path)

    def keep(self, block: list[bytes], taken: int) -> None:
        """Close the file with the last of the `taken` bytes, which are in `block`; without them if
        those before did not all arrive.
        """
        with self._lock:
            stream = None if self._ended else self._stream
            self._ended = True
            if stream is None or stream.closed:
                return
            # What cannot be written now is fetched again.
            with suppress(OSError):
                if self.size + _length(block) == taken:
                    stream.writelines(block)
            with suppress(OSError):
                stream.close()

    def _append(self, block: list[bytes]) -> None:
        if self._ended:
            return
        try:
            if self._stream is None:
                self._stream = self._opening()
            self._stream.writelines(block)
        except OSError as error:
            raise store_error(self.path, error) from error
        self.size += _length(block)
        for hasher in self._hashers.values():
            for chunk in block:
                hasher.update(chunk)

    def _close(self, stream: BinaryIO) -> None:
        try:
            stream.close()
        except OSError as error:
            raise store_error(self.path, error) from error


class _Hasher(Protocol):
    def update(self, data: bytes | memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


def digest(chunks: Sequence[bytes], algorithms: Sequence[str]) -> dict[str, str]:
    """Return the hexadecimal digests of a body in memory."""
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


def _create(path: str) -> BinaryIO:
    return open(path, "xb", opener=_open_private)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def store_error(path: str, error: OSError) -> StoreError:
    """Return the error that says that the file cannot be written, and why."""
    text = f"cannot write {path}: {error.strerror or error}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFullError(text)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR}:
        return StoreUnwritableError(text)
    return StoreError(text)


def _length(block: list[bytes]) -> int:
    return sum(map(len, block))


BLOCK: Final = 1 << 20
"""Bytes collected before a thread writes them."""


def fresh_path(folder: str) -> str:
    """Return the path of a file in `folder` that does not exist, in no process and on no machine
    that shares the folder.
    """
    return f"{folder}/{os.urandom(12).hex()}"


class Spool:
    """Holds one body: in `body` up to `memory_limit` bytes, beyond that in the file `path` in
    `folder`. A limit of 0 means always a file.

    Made and discarded by the task that wants the body; used by one task at a time. `finish` sets
    either `body` or `path`, and `digests`, in hexadecimal, of the `algorithms`. `size` counts the
    bytes taken so far. `held` is what a subclass has of the body before it comes.

    Raises `StoreFullError`, `StoreUnwritableError` or `StoreError` where the file system refuses.
    After that, and when its user is cancelled, `discard` is due.
    """

    def __init__(self, folder: str, memory_limit: int, algorithms: Sequence[str] = ()) -> None:
        self.body: bytes | None = None
        self.path: str | None = None
        self.size = 0
        self.digests: dict[str, str] = {}
        self.held: Held | None = None
        self._folder = folder
        self._memory_limit = memory_limit
        self._algorithms = algorithms
        self._block: list[bytes] = []
        self._block_size = 0
        self._file: SpoolFile | None = None
        self._writing: asyncio.Future[None] | None = None

    def begin(self, validator: str | None) -> None:
        """Take no note: what is spooled here belongs to one transfer."""

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes; wait only while the block before this one is still being written."""
        self._block.append(chunk)
        self._block_size += len(chunk)
        self.size += len(chunk)
        if self._block_size >= BLOCK and self.size > self._memory_limit:
            await self._written()
            self._writing = self._in_thread(self._open().append, self._take_block())

    def direct(self, size: int) -> Fill | None:
        """Return what lets a thread bring bytes to the file, if a body of `size` bytes has one."""
        return self._fill if size > self._memory_limit else None

    async def _fill(self, pour: Pour) -> None:
        await self._written()
        file = self._open(poured=True)
        try:
            await in_thread(file.fill, self._take_block(), pour)
        finally:
            self.size = file.size

    async def finish(self) -> None:
        """Bring all bytes to where they stay, and close the file."""
        if self._file is None and self.size <= self._memory_limit and self._memory_limit > 0:
            self.body = b"".join(self._take_block())
            self.digests = digest([self.body], self._algorithms)
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
        file = self._let_go()
        self.body, self.path, self.size, self.digests = None, None, 0, {}
        self._block, self._block_size = [], 0
        if file is not None:
            await _to_the_end(self._in_thread(file.remove))

    async def keep(self) -> None:
        """Close the file and leave it, with all bytes taken so far unless some of them could not be
        written.
        """
        writing = self._writing
        file = self._let_go()
        if file is not None:
            closing = self._keep(writing, file, self._take_block(), self.size)
            await _to_the_end(asyncio.ensure_future(closing))

    async def _keep(
        self,
        writing: asyncio.Future[None] | None,
        file: SpoolFile,
        block: list[bytes],
        size: int,
    ) -> None:
        # Threads begin in no certain order: one that closed the file before the last block's did
        # would leave that block out.
        if writing is not None:
            await asyncio.wait((writing,))
        await self._in_thread(file.keep, block, size)

    def _let_go(self) -> SpoolFile | None:
        writing, self._writing = self._writing, None
        file, self._file = self._file, None
        if writing is not None:
            writing.add_done_callback(_retrieve)
        return file

    def _open(self, *, poured: bool = False) -> SpoolFile:
        if self._file is None:
            self._file = self._new_file(poured=poured)
        return self._file

    def _new_file(self, *, poured: bool) -> SpoolFile:
        """Return the file for a body that begins. `poured` says that threads bring its bytes, and
        may hash them on the way.
        """
        return SpoolFile(fresh_path(self._folder), self._algorithms)

    def _take_block(self) -> list[bytes]:
        block, self._block, self._block_size = self._block, [], 0
        return block

    async def _written(self) -> None:
        if self._writing is not None:
            await self._writing
            self._writing = None

    @staticmethod
    def _in_thread(work: Callable[..., None], *arguments: Any) -> asyncio.Future[None]:
        return asyncio.get_running_loop().run_in_executor(None, work, *arguments)


async def _to_the_end(closing: asyncio.Future[None]) -> None:
    # Also if the task that waits is cancelled: the file is no one's before it is closed.
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait((closing,))
        raise


def _retrieve(future: asyncio.Future[None]) -> None:
    # The error of a write that nothing waits for any more.
    if not future.cancelled():
        future.exception()
