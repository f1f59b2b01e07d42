"""The file behind a passage: written from its start, perhaps again from its start, and read by any number meanwhile.

Its methods block, so they belong in threads.

When a body is fetched again from its first byte, what readers took already is compared with what comes now: as long as both are equal, it is as if
nothing had happened. Where they differ, `append` says so, and the file holds the new bytes from there on.
"""

import os
from typing import Final

from flowsync.download.spool_file import store_error

_PIECE: Final = 1 << 20


class PassageFile:
    """A file of which `end` bytes are there; the next go to `position`, which is less while a body comes again. One writer at a time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.position = self.end = 0
        self._file: int | None = None

    def append(self, block: bytes) -> bool:
        """Write the next bytes; return whether they are those that were there before, or come behind them. Raise a `StoreError`."""
        try:
            return self._append(block)
        except OSError as error:
            raise store_error(self.path, error) from error

    def finish(self) -> bool:
        """Take note that the body is whole; return whether it is no shorter than the one before, of which the rest is cut off."""
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

    def open_stored(self, path: str, size: int) -> bool:
        """Be the file of a blob that is stored already; return whether it is there and has that size."""
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        if os.fstat(file).st_size != size:
            os.close(file)
            return False
        self._file, self.position, self.end = file, size, size
        return True

    def _append(self, block: bytes) -> bool:
        if self._file is None:
            self._file = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
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
