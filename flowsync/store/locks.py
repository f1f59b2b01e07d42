"""File locks that say whether the process that made something is still alive.

The kernel drops a lock when the last process that holds it ends, however it ends; so a lock that can be had belongs to nobody living. The lock
file is removed by its owner: whoever gets hold of one that was removed in the meantime has got nothing.
"""

import fcntl
import os

from flowsync.store.shortcomings import without_locks


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
