"""File locks that say whether the process that made something is still alive.

The kernel drops a lock when the last process that holds it ends, however it ends; so a lock that can be had belongs to nobody living. The lock
file is removed by its owner: whoever gets hold of one that was removed in the meantime has got nothing.
"""

import fcntl
import os


def claim(path: str, flags: int = 0, mode: int = 0o600) -> int | None:
    """Open and lock the file, and return its descriptor; closing it gives the lock back.

    Return None when another holds the lock, and when the file was removed. `flags` and `mode` are those of open; with `O_CREAT` the file is made,
    and a folder that is not there is a `FileNotFoundError`.
    """
    try:
        fd = os.open(path, os.O_RDWR | flags, mode)
    except FileNotFoundError:
        if flags & os.O_CREAT:
            raise
        return None
    if _locked(fd) and os.fstat(fd).st_nlink > 0:
        return fd
    os.close(fd)
    return None


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
