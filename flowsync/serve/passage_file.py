"""The file behind a passage: written once from its start, perhaps again from its start, and read by any number meanwhile. Blocks, so it belongs in threads.

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

    def finish(self) -> None:
        """Cut off what an earlier body was longer, and let readers go on with the file."""
        if self._file is not None and self.end > self.position:
            os.ftruncate(self._file, self.position)
        self.end = self.position

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes that are there."""
        return b"" if self._file is None else os.pread(self._file, count, offset)

    def close(self) -> None:
        """Close the file, whose name may be gone or changed by now."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def open_stored(self, path: str) -> None:
        """Be a file that is stored already."""
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.position = self.end = os.fstat(self._file).st_size

    def _append(self, block: bytes) -> bool:
        if self._file is None:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
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
