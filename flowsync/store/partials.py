"""Partials: bodies that outlive the run that fetched them, so that the next one goes on from the
bytes that are there.

1. A partial lies in `<staging>/partial/`, beside the folders of runs and on their file system: its
   bytes under the digest that is wanted, and beside them a record of where they came from.
2. Whoever uses one holds a claim on it, by a lock on the record, until the process ends at the
   latest. So no two ever write one file; who does not get the claim does without.
3. What the file holds is what counts, its length above all. The record is written when the file is
   still empty, so bytes never stand beside the record of others; only a machine that loses power
   may mix them, and then the digest, without which there is no partial, tells.
4. A body that is whole and not stored yet lies in its run's folder under a name that tells which it
   is. When the folder is removed with its run, or after it, such a body becomes a partial again.
5. Kept is only what can be continued or is whole, and only where the file system has as much room
   left: a disk that fills up gets its room back, as from everything else in staging. What nobody
   touched for `LIFETIME` goes when a store is opened.

Decisions: docs/decisions/0010.

File locks that say whether the process that made something is still alive.

The kernel drops a lock when the last process that holds it ends, however it ends; so a lock that
can be had belongs to nobody living. The lock file is removed by its owner: whoever gets hold of one
that was removed in the meantime has got nothing.
"""

import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

import msgspec
from blake3 import blake3

from flowsync.store.failures import without_locks


def claim(path: str, flags: int = 0, mode: int = 0o600, *, access: int = os.O_RDWR) -> int | None:
    """Open and lock the file, and return its descriptor; closing it gives the lock back.

    Return None when another holds the lock, and when the file was removed. `flags`, `mode` and
    `access` are those of open; with `O_CREAT` the file is made, and a folder that is not there is a
    `FileNotFoundError`. A file that may not be written can be locked with `O_RDONLY`, but not on
    NFS, which answers EBADF.
    """
    try:
        fd = os.open(path, access | flags, mode)
    except FileNotFoundError:
        if flags & os.O_CREAT:
            raise
        return None
    try:
        if lock(fd, fcntl.LOCK_EX, path) and os.fstat(fd).st_nlink > 0:
            held, fd = fd, -1
            return held
    finally:
        if fd >= 0:
            os.close(fd)
    return None


def lock(fd: int, kind: int, path: str) -> bool:
    """Take the lock of an open file if it can be had at once; say whether it was. Raise `OSError`,
    which names a file system without locks.
    """
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise without_locks(path, error) from error
    return True


LIFETIME: Final = 7 * 24 * 3600.0
"""Seconds that a partial is kept without anybody adding to it."""

_FOLDER: Final = "partial"
_RECORD: Final = ".json"
_WHOLE: Final = re.compile(r"[0-9a-f]+\.([0-9a-z]+-[0-9a-f]+)")
_LARGEST_RECORD: Final = 1 << 16


class Record(msgspec.Struct, frozen=True):
    """Where the bytes of a partial came from: the digest of the URL, and the strong validator that
    upstream gave.
    """

    source: str
    validator: str


class Partial:
    """A partial that this process has claimed. Made by `claimed`; its methods block, and are called
    by one thread at a time.

    `size` is the length of the file as it was last looked at, 0 without one; `whole_size` is that
    of the whole body, if it is known.
    """

    def __init__(self, folder: str, name: str, lock: int, whole_size: int | None) -> None:
        self.path = f"{folder}/{name}"
        self.size = 0
        self._name = name
        self._lock = lock
        self._whole_size = whole_size
        self._record: Record | None = None
        self.look()
        if whole_size is not None and self.size > whole_size:
            self.empty()

    @property
    def is_whole(self) -> bool:
        """Whether there are as many bytes as the body has."""
        return self.size == self._whole_size

    def validator_for(self, url: str) -> str | None:
        """Return the validator with which to ask `url` for the rest, or `None` where the bytes came
        from elsewhere.
        """
        record = self._record
        return record.validator if record and self.size and record.source == _source(url) else None

    def look(self) -> None:
        """See what is there."""
        try:
            self.size = os.stat(self.path).st_size
        except FileNotFoundError:
            self.size = 0
        self._record = _decode(os.pread(self._lock, _LARGEST_RECORD, 0))

    def begin(self, url: str, validator: str | None) -> BinaryIO:
        """Open the file without any bytes for those of `url`, and write down where they come from.
        Raise `OSError`.
        """
        self.empty()
        stream = open(self.path, "xb", opener=_open_private)  # noqa: SIM115 -- closed by whoever writes
        if validator is not None:
            try:
                record = Record(_source(url), validator)
                os.pwrite(self._lock, msgspec.json.encode(record), 0)
            except BaseException:
                stream.close()
                raise
        return stream

    def resume(self) -> BinaryIO:
        """Open the file to add to its bytes. Raise `OSError`."""
        return open(self.path, "ab", opener=_open_private)

    def empty(self) -> None:
        """Throw the bytes away and forget where they came from."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        os.ftruncate(self._lock, 0)
        self.size, self._record = 0, None

    def move(self, folder: str) -> str:
        """Move the file, which is whole and verified, into the folder of a run, and return its path
        there.
        """
        path = f"{folder}/{secrets.token_hex(8)}.{self._name}"
        os.rename(self.path, path)
        return path

    def adopt(self, path: str) -> None:
        """Take a file that `move` brought elsewhere back."""
        os.rename(path, self.path)
        os.ftruncate(self._lock, 0)

    @property
    def _deserves_room(self) -> bool:
        if not self.size or not (self._record or self.is_whole):
            return False
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize >= self.size

    def release(self) -> None:
        """Give the claim back, and keep the bytes if they are worth it."""
        try:
            self.look()
            if not self._deserves_room:
                self.remove()
        finally:
            os.close(self._lock)

    def remove(self) -> None:
        """Remove file and record; the claim is still to be given back, but nobody can get it any
        more.
        """
        self.empty()
        os.unlink(self.path + _RECORD)

    def expire(self, before: float) -> None:
        """Remove what nobody added to since `before`, and give the claim back."""
        try:
            if not self.size or os.stat(self.path).st_mtime < before:
                self.remove()
        finally:
            os.close(self._lock)


@contextmanager
def claimed(staging: str, name: str, size: int) -> Iterator[Partial | None]:
    """Claim the partial of a body of `size` bytes for the block, new or with what is there; give
    `None` when it cannot be had.

    `staging` is the staging folder of a run, `name` an algorithm and a digest, joined by a hyphen.
    """
    partial = _claim(f"{os.path.dirname(staging)}/{_FOLDER}", name, size)
    try:
        yield partial
    finally:
        if partial is not None:
            with suppress(OSError):
                partial.release()


def rescue(folder: str) -> None:
    """Make partials of the whole bodies that a run leaves in its staging folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        found = [(e.path, match[1]) for e in entries if (match := _WHOLE.fullmatch(e.name))]
        for path, name in found:
            with claimed(folder, name, os.stat(path).st_size) as partial:
                if partial is not None:
                    partial.adopt(path)


def remove_old(parent: str) -> None:
    """Remove the partials among the staging folders in `parent` that nobody touched for `LIFETIME`,
    and those without bytes.
    """
    folder = f"{parent}/{_FOLDER}"
    before = time.time() - LIFETIME
    try:
        names = {name.removesuffix(_RECORD) for name in os.listdir(folder)}
    except FileNotFoundError:
        return
    for name in names:
        partial = _claim(folder, name, None)
        if partial is not None:
            partial.expire(before)


def _claim(folder: str, name: str, size: int | None) -> Partial | None:
    """Claim a partial; `None` when another has it, or when the file system refuses: whoever wanted
    it finds out more by writing elsewhere.
    """
    record = f"{folder}/{name}{_RECORD}"
    try:
        try:
            lock = claim(record, os.O_CREAT)
        except FileNotFoundError:
            os.makedirs(folder, 0o700, exist_ok=True)
            lock = claim(record, os.O_CREAT)
        return None if lock is None else _opened(folder, name, lock, size)
    except OSError:
        return None


def _opened(folder: str, name: str, lock: int, size: int | None) -> Partial:
    try:
        return Partial(folder, name, lock, size)
    except BaseException:
        os.close(lock)
        raise


def _source(url: str) -> str:
    return blake3(url.encode()).hexdigest()


def _decode(raw: bytes) -> Record | None:
    """Return the record; nothing for one that is empty, torn, or of another form."""
    try:
        return msgspec.json.decode(raw, type=Record)
    except msgspec.DecodeError:
        return None


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
