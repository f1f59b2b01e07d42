"""The file origin: bodies from `file://` URLs. Reads in threads; never moves, links or changes a
source.

1. Everything behind `file://` is the path: `?` and `#` belong to the name, percent escapes are
   decoded. The host is empty or `localhost`.
2. With allowed roots, the file must lie below one of them after all symbolic links are resolved,
   compared component by component: `/data` does not admit `/data2`, nor a link in `/data` that
   leads out.
3. Only regular files are read: a pipe would hang, and a device never ends.
4. Size and modification time stand for the bytes: they make the validators of conditional requests,
   and a file that changes while it is read is a broken body, which is tried again.

Decisions: docs/decisions/0012.
"""

import asyncio
import os
import stat
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Final
from urllib.parse import unquote_to_bytes

from flowsync.download.transfer.attempt import Tally
from flowsync.download.transfer.inflow import Inflow
from flowsync.download.transfer.response import http_date
from flowsync.errors import (
    BrokenBodyError,
    ForbiddenPathError,
    UnreadableFileError,
    UnsupportedUrlError,
)
from flowsync.model.remote import FetchRequest, Received, Sink, Validators
from flowsync.model.url import redact

_CHUNK: Final = 1 << 20


class FileOrigin:
    """Brings bodies from files below `allowed_roots`."""

    steady: Final = True

    def __init__(self, allowed_roots: Sequence[Path] | None) -> None:
        self._roots = None if allowed_roots is None else [Path(root) for root in allowed_roots]

    async def attempt(self, request: FetchRequest, sink: Sink, tally: Tally) -> Received:
        """Copy the file into the sink. Raise `UnreadableFileError`, `ForbiddenPathError`,
        `BrokenBodyError` or `SizeMismatchError`.
        """
        source = _Source(request.url)
        try:
            await asyncio.to_thread(source.open, self._roots)
            known = source.is_known(request.validators)
            if not known and request.method == "GET":
                tally.promise(source.size)
                inflow = Inflow(request, sink, tally)
                chunk = source.head
                while chunk:
                    await inflow.take(chunk)
                    chunk = await source.read()
        finally:
            await source.close()
        return Received(
            url=request.url,
            size=tally.taken,
            headers={},
            validators=source.validators,
            not_modified=known,
        )


class _Source:
    """A file to be read in threads, one step at a time, and its size and date when it was opened.

    `head` holds the first bytes: a small file is opened, read and closed in one trip to a thread.
    The file is closed with its last byte, or by `close`.
    """

    def __init__(self, url: str) -> None:
        self.size = 0
        self.head = b""
        self._url = url
        self._modified = 0
        self._taken = 0
        self._stream: FileIO | None = None
        self._ended = False
        # A thread cannot be cancelled: `close` waits here for a step that its awaiter has given up.
        self._lock = Lock()

    def open(self, roots: Sequence[Path] | None) -> None:
        """Open the file and read `head`."""
        real = _real_path(self._url, roots)
        with self._lock:
            if self._ended:
                return
            self._stream = _open(self._url, real)
            state = os.fstat(self._stream.fileno())
            self.size = state.st_size
            self._modified = state.st_mtime_ns
            self.head = self._read(self._stream)

    @property
    def validators(self) -> Validators:
        """What stands for the state in which the file was opened."""
        # A file system may hold dates that no calendar has; the tag says enough.
        date = http_date(self._modified // 1_000_000_000)
        return Validators(f'"{self._modified:x}-{self.size:x}"', date)

    def is_known(self, known: Validators | None) -> bool:
        """Say whether a conditional request names this very state; the entity tag counts more than
        the date.
        """
        if not known:
            return False
        if known.etag is not None:
            return known.etag == self.validators.etag
        return known.last_modified == self.validators.last_modified

    async def read(self) -> bytes:
        """Return the next bytes; none after the last. Raise `BrokenBodyError` when the file changed
        meanwhile.
        """
        return b"" if self._ended else await asyncio.to_thread(self._read_next)

    async def close(self) -> None:
        if not self._ended:
            loop = asyncio.get_running_loop()
            await asyncio.shield(loop.run_in_executor(None, self._close))

    def _read_next(self) -> bytes:
        with self._lock:
            return b"" if self._stream is None else self._read(self._stream)

    def _read(self, stream: FileIO) -> bytes:
        try:
            chunk = stream.read(_CHUNK) or b""
        except OSError as error:
            reason = f"cannot be read on: {error.strerror}"
            raise BrokenBodyError(redact(self._url), reason) from error
        self._taken += len(chunk)
        if not chunk or self._taken >= self.size:
            self._check_unchanged(stream)
            self._end()
        return chunk

    def _check_unchanged(self, stream: FileIO) -> None:
        now = os.fstat(stream.fileno())
        seen = self.size, self.size, self._modified
        if (self._taken, now.st_size, now.st_mtime_ns) != seen:
            raise BrokenBodyError(redact(self._url), "changed while it was read")

    def _close(self) -> None:
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._ended = True
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _real_path(url: str, roots: Sequence[Path] | None) -> str:
    path = _path(url)
    try:
        real = os.path.realpath(path)
        inside = roots is None or any(
            Path(real).is_relative_to(os.path.realpath(root)) for root in roots
        )
    except (OSError, ValueError) as error:
        raise UnreadableFileError(redact(url), f"cannot be read: {error}") from error
    if not inside:
        raise ForbiddenPathError(redact(url), "leads out of the folders that may be read")
    return real


def _open(url: str, real: str) -> FileIO:
    try:
        # Not blocking: opening a pipe without a writer must not hang before it is refused.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadableFileError(redact(url), f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableFileError(redact(url), "is not a regular file")
    return FileIO(descriptor, "rb")


def _path(url: str) -> str:
    authority, slash, rest = url.partition("://")[2].partition("/")
    if authority.lower() not in {"", "localhost"} or not slash:
        raise UnsupportedUrlError(redact(url), "is not file:// with an absolute path")
    try:
        return "/" + os.fsdecode(unquote_to_bytes(os.fsencode(rest)))
    except UnicodeEncodeError:
        raise UnsupportedUrlError(redact(url), "holds half a character") from None
