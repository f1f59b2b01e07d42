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
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final, Protocol

from flowsync.store import kernel
from flowsync.store.failures import NOT_HAD, go_on_without

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
