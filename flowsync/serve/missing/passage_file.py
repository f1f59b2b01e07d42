"""The file behind a passage: written from its start, perhaps again from its start, and read by any
number meanwhile.

Its methods block, so they belong in threads. When the disk is full, the file goes on in memory, up
to a bound: what cannot be stored can still be passed on.

When a body is fetched again from its first byte, what readers took already is compared with what
comes now: as long as both are equal, it is as if nothing had happened. Where they differ, `append`
says so, and the file holds the new bytes from there on.
"""

import errno
import os
from contextlib import suppress
from typing import Final

from flowsync.download.transfer.spool_file import store_error
from flowsync.serve.files.reading import open_whole

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

    def append(self, block: bytes) -> bool:
        """Write the next bytes; return whether they are those that were there before, or come
        behind them. Raise a `StoreError`.
        """
        try:
            return self._append(block)
        except OSError as error:
            if error.errno not in _FULL or self._in_memory:
                raise store_error(self.path, error) from error
        try:
            self._move_to_memory()
            return self._append(block)
        except OSError as error:
            raise store_error(self.path, error) from error

    def finish(self) -> bool:
        """Take note that the body is whole; return whether it is no shorter than the one before, of
        which the rest is cut off.
        """
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
        """Remove the name of what was not stored; readers have the file open. What cannot be
        removed goes with the folder.
        """
        if not self._in_memory:
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
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self.path = f"/proc/{os.getpid()}/fd/{self._file}"
        self._in_memory = True

    def _append(self, block: bytes) -> bool:
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
