"""Where a body waits: in memory while it is small, in a private file when it grows.

1. Nothing here blocks the loop: chunks are collected to blocks of a mebibyte, and a thread writes
   (and, where asked, hashes) a block while the next one arrives. A body held in memory costs no
   thread at all.
2. A spool holds two blocks at most beyond what its file has, and nothing of what a thread fills it
   with.
3. `discard` leaves nothing behind, also when a write is under way in its thread; so does `restart`.
   `keep` leaves the file, for someone to go on from.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from flowsync.download.transfer.spool_file import SpoolFile, digest
from flowsync.model.fetch import Fill, Held, Pour
from flowsync.runtime.threads import in_thread

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

    Made and discarded by whoever wants the body; used by one task at a time. `finish` sets either
    `body` or `path`, and `digests`, in hexadecimal, of the `algorithms`. `size` counts the bytes
    taken so far. `held` is what a subclass has of the body before it comes.

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
    # Also if whoever waits is cancelled: the file is nobody's before it is closed.
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait((closing,))
        raise


def _retrieve(future: asyncio.Future[None]) -> None:
    # The error of a write that nobody waits for any more.
    if not future.cancelled():
        future.exception()
