"""Barriers: the points at which a batch waits until what it wrote survives power loss.

1. A batch passes two barriers. Before the renames its files are made durable, after them the
   folders that gained names; so a name never stands for bytes that could still be lost.
2. A failed write-back is an error of the batch that it hits. A barrier is opened before the first
   write, because the kernel tells an open file of the failures since it was opened.

    files in a batch               1     50    500    500 beside a writer of 400 MB/s
    syncfs                      0.34    1.9    8.6     48
    fsync, one after another    0.36   13.6     99    178
    fsync, 16 threads           0.38    6.6     50     59
    sync_file_range, fdatasync  0.29    9.3     62     58

syncfs also writes what others have dirty; fsync waits for some of that too, since they share a
journal. A slower disk would feel it more, so small batches, which gain little, do not take part.

syncfs is trusted only where it is known to reach the disk and to report errors: Linux 5.8 or later
on ext4, XFS or Btrfs. FUSE does not pass it on, overlayfs does not report the errors of the file
system below. Elsewhere, fsync does it. Where a file system has no fsync either, of files or of
folders, the log says so once, and the batch goes on.

Decisions: docs/decisions/0009.

Also here: errors of the operating system, and what file systems lack. What a barrier means depends
on both.
"""

import errno
import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from typing import Final, Protocol

from flowsync.errors import ExportError, StoreError, StoreFullError, StoreUnwritableError
from flowsync.runtime.descriptors import how_to_raise
from flowsync.store import kernel

# The translation of what the operating system refuses into the errors of the store and of exports.
#
# The reasons stand in docs/decisions/0009.

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def store_errors(doing: str, otherwise: type[StoreError] = StoreError) -> Iterator[None]:
    """Turn every `OSError` of the block into a `StoreError` that says what was being done and what
    was found.
    """
    try:
        yield
    except OSError as error:
        raise _kind(error, otherwise)(f"{doing}: {describe(error)}") from error


@contextmanager
def export_errors(doing: str) -> Iterator[None]:
    """Turn every `OSError` of the block into an `ExportError` that says what was being done and
    what was found.
    """
    try:
        yield
    except OSError as error:
        raise ExportError(f"{doing}: {describe(error)}") from error


def describe(error: OSError) -> str:
    """Return the system's words for the error, with the path that it concerns where it
    names one.
    """
    where = f": {error.filename}" if error.filename else ""
    advice = f"; {how_to_raise()}" if error.errno == errno.EMFILE else ""
    return f"{error.strerror}{where}{advice}"


def _kind(error: OSError, otherwise: type[StoreError]) -> type[StoreError]:
    if error.errno in _FULL:
        return StoreFullError
    return StoreUnwritableError if error.errno in _FORBIDDEN else otherwise


# What file systems lack, and how that is told: once a process for each of them, in the log.
#
# A file system that cannot flush, or cannot change modes, is used all the same: what is written
# there is as right as anywhere, but may be lost with the power. One without locks cannot be used:
# the error says which it is.

_log = logging.getLogger(__name__)

NOT_HAD: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""What a call answers that the file system, or the sandbox, does not have."""

NO_LOCKS: Final = NOT_HAD | {errno.ENOLCK}

_MOUNTS: Final = "/proc/self/mountinfo"


def go_on_without(lack: str, path: str, error: OSError) -> None:
    """Tell once that the file system of `path` lacks something, if that is what the error says;
    otherwise raise it.
    """
    if error.errno not in NOT_HAD:
        raise error
    key = os.stat(path).st_dev, lack
    if key not in _told():
        _told().add(key)
        reason = os.strerror(error.errno)
        _log.warning("%s %s: %s; going on without", file_system(path), lack, reason)


def without_locks(path: str, error: OSError) -> OSError:
    """Return the error of a lock in words that name the file system."""
    if error.errno not in NO_LOCKS:
        return error
    return OSError(error.errno, f"{error.strerror} ({file_system(path)} has no file locks)", path)


def file_system(path: str) -> str:
    """Return the type of the file system that holds the path, and where it is mounted."""
    path = os.path.realpath(path)
    mount, kind = "", ""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                point, found = _mounted(line)
                # Of two at one place the later one covers the other.
                if len(point) >= len(mount) and _is_below(path, point):
                    mount, kind = point, found
    except OSError:
        pass
    return f"the file system {kind} at {mount}" if mount else f"the file system of {path}"


@cache
def _told() -> set[tuple[int, str]]:
    """Return what was told already, of which file system (its device): kept as long as the
    process.
    """
    return set()


def _mounted(line: str) -> tuple[str, str]:
    """Return the place and the type in a line of mountinfo."""
    before, _, after = line.partition(" - ")
    escaped = before.split(" ")[4]
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), escaped), after.split(" ")[0]


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


SYNCFS_FROM: Final = 8
"""Files in a batch from which syncfs is used: fsync of eight costs about 2 ms, syncfs 0.4 ms and
what others have dirty.
"""

_SYNCFS_REPORTS_ERRORS: Final = (5, 8)

# ext2, ext3 and ext4; XFS; Btrfs
_SYNCFS_REACHES_DISK: Final = frozenset({0xEF53, 0x58465342, 0x9123683E})


class Barrier(Protocol):
    """What makes the writes of one batch durable. It lives as long as the batch and belongs to one
    thread.
    """

    def files(self, written: Iterable[str], staged: Iterable[str]) -> None:
        """Make the bytes of files durable: of those written since the barrier was opened, and of
        those staged before.
        """
        ...

    def folders(self, folders: Iterable[str]) -> None:
        """Make the names in the folders durable."""
        ...


def barriers(folder: str) -> Callable[[int], AbstractContextManager[Barrier]]:
    """Return what opens the best barrier for a batch of so many files below `folder`."""
    whole = trusts_syncfs(folder)
    return lambda files: barrier(folder, whole=whole and files >= SYNCFS_FROM)


@contextmanager
def barrier(folder: str, *, whole: bool) -> Iterator[Barrier]:
    """Open a barrier for writes below `folder`: `whole` flushes its file system at once, otherwise
    each file is flushed alone.
    """
    if not whole:
        yield _EachAlone()
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        yield _WholeFileSystem(fd)
    finally:
        os.close(fd)


def trusts_syncfs(folder: str) -> bool:
    """Return whether syncfs makes everything on the file system of `folder` durable, and tells when
    it could not.
    """
    if not _at_least(os.uname().release, _SYNCFS_REPORTS_ERRORS):
        return False
    try:
        return kernel.file_system_type(folder) in _SYNCFS_REACHES_DISK
    except OSError:
        return False


def make_folder(path: str) -> None:
    """Create the folder and its missing parents durably; an existing folder is fine."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        # Another process may have been quicker; anything but a folder there is an error.
        try:
            os.mkdir(folder)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise
        flush(os.path.dirname(folder))


def flush_ahead(fd: int) -> None:
    """Let the disk begin with what was written to a file, so that the barrier finds little left.
    Where that cannot be, the barrier does all.
    """
    with suppress(OSError):
        kernel.begin_writing(fd)


def flush_tree(folder: str) -> None:
    """Make everything below the folder durable, files and names."""
    if trusts_syncfs(folder) and _flushed_whole(folder):
        return
    for parent, _, names in os.walk(folder):
        for name in names:
            flush(os.path.join(parent, name))
        flush(parent)


def _flushed_whole(folder: str) -> bool:
    fd = os.open(folder, os.O_RDONLY)
    try:
        return _WholeFileSystem(fd).synced()
    finally:
        os.close(fd)


def flush(path: str) -> None:
    """Make the bytes of a file, or the names in a folder, durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        what = "folders" if stat.S_ISDIR(os.fstat(fd).st_mode) else "files"
        go_on_without(f"cannot make {what} durable", path, error)
    finally:
        os.close(fd)


class _EachAlone:
    def files(self, written: Iterable[str], staged: Iterable[str]) -> None:
        for path in (*written, *staged):
            flush(path)

    def folders(self, folders: Iterable[str]) -> None:
        for path in folders:
            flush(path)


class _WholeFileSystem:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def files(self, written: Iterable[str], staged: Iterable[str]) -> None:
        if not self.synced():
            _EachAlone().files(written, staged)
            return
        # A staged file is older than our descriptor. If its write-back failed early and someone
        # else was told, syncfs keeps silent to us; the file itself still knows.
        for path in staged:
            _check_written(path)

    def folders(self, folders: Iterable[str]) -> None:
        if not self.synced():
            _EachAlone().folders(folders)

    def synced(self) -> bool:
        """Flush the file system; say whether the system has a call for it."""
        try:
            kernel.syncfs(self._fd)
        except OSError as error:
            if error.errno not in NOT_HAD:
                raise
            return False
        return True


def _check_written(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        kernel.wait_written(fd)
    except OSError as error:
        if error.errno not in NOT_HAD:
            raise
        flush(path)
    finally:
        os.close(fd)


def _at_least(release: str, wanted: tuple[int, int]) -> bool:
    numbers = release.split("-", maxsplit=1)[0].split(".")[:2]
    return all(part.isdigit() for part in numbers) and tuple(map(int, numbers)) >= wanted
