"""The file behind a passage: written from its start, perhaps again from its start, and read by any
number meanwhile.

Its methods block, so they belong in threads. When the disk is full, the file goes on in memory, up
to a bound: what cannot be stored can still be passed on.

When a body is fetched again from its first byte, what readers took already is compared with what
comes now: as long as both are equal, it is as if nothing had happened. Where they differ, `append`
says so, and the file holds the new bytes from there on.

The first body that comes may belong to a partial, and so be kept when it breaks off. What takes its
place does not: it lies in a file of its own.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from flowsync.download.transfer.spool import store_error
from flowsync.serve.files.sending import open_whole
from flowsync.store.durability import store_errors
from flowsync.store.staging import Partial

LARGEST_IN_MEMORY: Final = 64 << 20
"""Bytes of a body that is passed on although the disk is full."""

_PIECE: Final = 1 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class PassageFile:
    """A file of which `end` bytes are there; the next go to `position`, which is less while a body
    comes again. One writer at a time.

    `path` is where it will be, and to be set before the first byte comes.
    """

    def __init__(self) -> None:
        self.path = ""
        self.position = self.end = 0
        self._file: int | None = None
        self._in_memory = False
        self._own_path = ""
        self._partial: Partial | None = None
        self._start: Callable[[], None] | None = None

    def goes_on_from(self, partial: Partial) -> bool:
        """Say whether the bytes of the partial may become, or are, those of this file."""
        return self._file is None or (self._partial is partial and self.end == partial.size)

    def begin(self, partial: Partial | None, url: str, validator: str | None) -> None:
        """Let the next bytes be the first of the body of `url`, which the partial is to keep."""

        def start() -> None:
            self.detach()
            self.position = 0
            if partial is not None and self._file is None:
                partial.begin(url, validator).close()
                self._attach(partial)

        self._start = start

    def resume(self, partial: Partial) -> None:
        """Let the next bytes be those behind the partial's, which this file has from then on."""

        def start() -> None:
            if self._file is None:
                self._attach(partial)
                self.position = self.end = partial.size

        self._start = start

    def detach(self) -> None:
        """Leave the partial without its bytes: no body goes on from them. Raise `StoreError`."""
        partial, self._partial = self._partial, None
        if partial is not None:
            with store_errors(f"cannot set {partial.path} aside"):
                os.rename(partial.path, self._own_path)
                self.path = self._own_path
                partial.empty()

    def take(self, folder: str) -> None:
        """Take the partial, whose bytes were verified, into a staging folder. Raise
        `StoreError`.
        """
        partial, self._partial = self._partial, None
        if partial is not None:
            with store_errors(f"cannot move {partial.path}"):
                self.path = partial.move(folder)

    def append(self, block: bytes) -> bool:
        """Write the next bytes; return whether they are those that were there before, or come
        behind them. Raise a `StoreError`.
        """
        try:
            return self._append(block)
        except OSError as error:
            if error.errno not in _FULL or self._in_memory or self.end > LARGEST_IN_MEMORY:
                raise store_error(self.path, error) from error
        try:
            self._move_to_memory()
            return self._append(block)
        except OSError as error:
            raise store_error(self.path, error) from error

    def finish(self) -> bool:
        """Take note that the body is whole; return whether it is no shorter than the one before, of
        which the rest is cut off. Raise a `StoreError`.
        """
        try:
            self._run_start()
        except OSError as error:
            raise store_error(self.path, error) from error
        longer, self.end = self.end > self.position, self.position
        if self._file is not None and longer:
            os.ftruncate(self._file, self.position)
        return not longer

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes that are there."""
        return b"" if self._file is None else os.pread(self._file, count, offset)

    def close(self) -> None:
        """Close the file, whose name may be gone or changed by now."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def discard(self) -> None:
        """Remove the name of what was not stored, unless a partial keeps it; readers have the file
        open. What cannot be removed goes with the folder.
        """
        if not self._in_memory and self._partial is None:
            with suppress(OSError):
                os.unlink(self.path)

    def open_verified(self, path: str, size: int) -> bool:
        """Be a file whose bytes were verified; return whether it opens and has that size."""
        try:
            file = open_whole(path, size)
        except OSError:
            return False
        self._file, self.position, self.end = file, size, size
        return True

    def _move_to_memory(self) -> None:
        """Go on in a file without a disk, with all that is there; the old one is removed."""
        memory = os.memfd_create("flowsync-passage", os.MFD_CLOEXEC)
        if self._file is not None:
            for offset in range(0, self.end, _PIECE):
                piece = os.pread(self._file, min(_PIECE, self.end - offset), offset)
                os.pwrite(memory, piece, offset)
            # Readers know the number of the old one.
            os.dup2(memory, self._file, inheritable=False)
            os.close(memory)
        else:
            self._file = memory
        partial, self._partial = self._partial, None
        if partial is not None:
            partial.empty()
        else:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
        self.path = f"/proc/{os.getpid()}/fd/{self._file}"
        self._in_memory = True

    def _attach(self, partial: Partial) -> None:
        self._file = os.open(partial.path, os.O_RDWR | os.O_CLOEXEC)
        self._own_path, self.path, self._partial = self.path, partial.path, partial

    def _run_start(self) -> None:
        start, self._start = self._start, None
        if start is not None:
            start()

    def _append(self, block: bytes) -> bool:
        self._run_start()
        if self._file is None:
            self._file = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
        if self._in_memory and self.position + len(block) > LARGEST_IN_MEMORY:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        overlap = min(len(block), self.end - self.position)
        same = overlap <= 0 or os.pread(self._file, overlap, self.position) == block[:overlap]
        if not same:
            self.end = self.position
        done = 0
        view = memoryview(block)
        while done < len(block):
            done += os.pwrite(self._file, view[done : done + _PIECE], self.position + done)
        self.position += len(block)
        self.end = max(self.end, self.position)
        return same
