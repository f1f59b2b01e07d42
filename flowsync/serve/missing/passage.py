"""A body on its way from upstream to those who asked for it: written to a file as it comes, and
read from there by each at its own pace.

1. Nothing waits for a slow or a vanished reader, and memory holds at most two blocks of a mebibyte,
   however large the body and however many read.
2. No reader ever gets the end of what it asked for before the digests of the whole agree. Of a
   whole body the last `HELD_BACK` bytes wait for it, so that a small one is answered only when it
   is right; of a part the last byte.
3. A body that must be fetched again from its first byte goes to the same place. Readers go on
   behind what they have, as long as the bytes are the same; where they are not, those who have got
   some of the old ones are broken off (`passage_file.py`). So no answer ever holds two bodies, or
   one twice.
4. What comes first is written at once; what comes while a thread writes is collected. So the first
   byte costs one way into a thread, and a fast upstream no more of them than a spool.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from flowsync.errors import FlowsyncError, SizeMismatchError
from flowsync.runtime.tasks import in_thread
from flowsync.serve.http.request import Slice
from flowsync.serve.missing.passage_file import PassageFile
from flowsync.store.staging import Partial

HELD_BACK: Final = 64 * 1024
"""Bytes at the end of a whole body that wait for its digests."""

_BLOCK: Final = 1 << 20
_PIECE: Final = 256 * 1024


class BrokenPassageError(ConnectionError):
    """What a reader has got of a body is worth nothing: the rest does not come, or is of another
    body.
    """


class Passage:
    """One body: what its transfers bring (`passage_sink.py`), and what its readers read. `file` is
    where it lies until it is moved.
    """

    def __init__(self, size: int | None = None) -> None:
        self.file = PassageFile()
        self.size = size
        self.received = 0
        self.failure: FlowsyncError | None = None
        self.verified = False
        self._generation = 0
        self._readers = 1
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._writing: asyncio.Task[None] | None = None
        self._changed: asyncio.Future[None] | None = None

    # --- what comes ---

    def begin(self, partial: Partial | None, url: str, validator: str | None) -> None:
        """Take the next bytes for the first of the body of `url`, which the partial is to keep."""
        self._pending, self._pending_size, self.received = [], 0, 0
        self.file.begin(partial, url, validator)

    def resume(self, partial: Partial) -> None:
        """Take the next bytes for those behind the partial's."""
        self.received = partial.size
        self.file.resume(partial)

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes; wait only while too many wait to be written."""
        self._pending.append(chunk)
        self._pending_size += len(chunk)
        self.received += len(chunk)
        if self._writing is None or self._writing.done():
            await self._written()
            self._writing = asyncio.create_task(self._write())
        elif self._pending_size >= _BLOCK:
            await self._written()

    async def restart(self) -> None:
        """Begin again at the first byte."""
        self._pending, self._pending_size, self.received = [], 0, 0
        await self._written()
        self.file.position = 0

    async def finish(self) -> None:
        """Bring all bytes to the file."""
        await self._written()
        if self._pending or self.received == 0:
            await self._write()
        if not await in_thread(self.file.finish):
            self._generation += 1

    async def settle(self) -> None:
        """Wait until no thread writes any more, whatever became of it."""
        if self._writing is not None:
            await asyncio.wait((self._writing,))
            if not self._writing.cancelled():
                self._writing.exception()

    # --- what becomes of it ---

    @property
    def settled(self) -> bool:
        """Whether readers know what becomes of it."""
        return self.verified or self.failure is not None

    async def take_file(self, path: str, size: int, *, own: bool = False) -> bool:
        """Let readers have a file whose bytes were verified, if it opens and has that size. One of
        its `own` is removed with it.
        """
        if not await in_thread(self.file.open_verified, path, size):
            return False
        if own:
            self.file.path = path
        self.vouch(size)
        return True

    async def take_body(self, body: bytes) -> None:
        """Let readers have bytes that were verified."""
        await self.write(body)
        await self.finish()
        self.vouch(len(body))

    def vouch(self, size: int) -> None:
        """Let readers have all: the digests of the `size` bytes agree.

        Where another size was announced, each of them was told a wrong length, and none gets the
        end.
        """
        if self.size not in {None, size}:
            self.fail(SizeMismatchError("a body that is served", self.size or 0, size))
            return
        self.size, self.verified = size, True
        self._tell()

    def fail(self, failure: FlowsyncError) -> None:
        """Tell readers that no more will come."""
        self.failure = failure
        self._tell()

    async def leave(self) -> None:
        """Leave it, as a reader or as who made it; the last one closes the file."""
        self._readers -= 1
        if self._readers == 0:
            await in_thread(self.file.close)

    # --- readers ---

    def enter(self) -> "PassageReader":
        """Become a reader."""
        self._readers += 1
        return PassageReader(self)

    def available(self, part: Slice | None) -> int:
        """Return up to which offset a reader of the part, or of a whole of unknown size,
        may read.
        """
        if self.verified and self.size is not None:
            return self.size if part is None else part.end
        if part is None or part.end == self.size == part.count:
            known = self.size if self.size is not None else self.file.end
            return min(self.file.end, known - HELD_BACK)
        return min(self.file.end, part.end - 1)

    @property
    def generation(self) -> int:
        """How often a body came that was not the one before."""
        return self._generation

    async def change(self) -> None:
        """Wait until there is more to read, or an end. Raise the failure that was told."""
        if self.failure is not None:
            raise self.failure
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    async def _written(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    async def _write(self) -> None:
        """Write what waits, and what comes meanwhile."""
        while True:
            block = b"".join(self._pending)
            self._pending, self._pending_size = [], 0
            if not await in_thread(self.file.append, block):
                self._generation += 1
            self._tell()
            if not self._pending:
                return

    def _tell(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)


class PassageReader:
    """One reader of a passage; to be left in any case, by `leave` or by the end of `pieces`."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._left = False

    async def first(self, part: Slice | None) -> None:
        """Wait until the reader of `part` may have a byte, or all of an empty body. Raise the
        failure when none comes.
        """
        passage = self._passage
        offset = 0 if part is None else part.offset
        while passage.available(part) <= offset and not passage.verified:
            await passage.change()

    async def whole(self) -> int:
        """Wait until all bytes are there and right, and return how many they are. Raise the failure
        when they do not come.
        """
        passage = self._passage
        while not passage.verified or passage.size is None:
            await passage.change()
        return passage.size

    async def pieces(self, part: Slice | None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the part, or of the whole, as they come. Raise `BrokenPassageError`
        when they do not, or are others than before.
        """
        passage = self._passage
        offset = begun = 0 if part is None else part.offset
        generation = passage.generation
        try:
            while True:
                if offset == begun:
                    generation = passage.generation
                elif generation != passage.generation:
                    raise BrokenPassageError("upstream's bytes have changed meanwhile")
                available = passage.available(part)
                if available <= offset:
                    if passage.verified:
                        return
                    await self._more()
                    continue
                piece = await in_thread(passage.file.read, offset, min(_PIECE, available - offset))
                if generation == passage.generation:
                    if not piece:
                        raise BrokenPassageError("the bytes are gone")
                    offset += len(piece)
                    yield piece
        finally:
            await self.leave()

    async def leave(self) -> None:
        """Leave the passage. Leaving twice is leaving once."""
        if not self._left:
            self._left = True
            await self._passage.leave()

    async def _more(self) -> None:
        try:
            await self._passage.change()
        except FlowsyncError as failure:
            raise BrokenPassageError(str(failure)) from failure
