"""The file of a spool: written, hashed, closed and removed in threads.

Decisions: docs/decisions/0012.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import BinaryIO, Protocol, cast

from blake3 import blake3

from flowsync.errors import StoreError, StoreFullError, StoreUnwritableError
from flowsync.model.fetch import Pour


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
