"""The system calls that Python does not wrap: syncfs, sync_file_range, statfs, renameat2.

Each function raises `OSError` with the errno of the call, and with ENOSYS where the C library does
not know it, so that a caller has one way to notice that it must do without. ctypes lets other
threads run during the calls.
"""

import ctypes
import errno
import os
import sys
from typing import Any, Final

_libc = ctypes.CDLL(None, use_errno=True)

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_RANGE_WRITE: Final = 2
# WAIT_BEFORE | WRITE | WAIT_AFTER
_RANGE_WRITTEN: Final = 1 | 2 | 4
# struct statfs has 120 bytes on 64-bit Linux; the first word is the type of the file system.
_STATFS_ROOM: Final = 1024


def syncfs(fd: int) -> None:
    """Write everything that is dirty on the file system of `fd`; since Linux 5.8, raise for failed
    write-backs since `fd` was opened.
    """
    _call("syncfs", ctypes.c_int(fd))


def begin_writing(fd: int) -> None:
    """Start the write-back of the file's dirty pages. Nothing is said of how that ends, and nobody
    else is kept from hearing it.
    """
    whole = ctypes.c_int64(0)
    _call("sync_file_range", ctypes.c_int(fd), whole, whole, ctypes.c_uint(_RANGE_WRITE))


def wait_written(fd: int) -> None:
    """Wait until the data pages of the file are written, and raise for failed write-backs of this
    file that were not told of yet.
    """
    whole = ctypes.c_int64(0)
    _call("sync_file_range", ctypes.c_int(fd), whole, whole, ctypes.c_uint(_RANGE_WRITTEN))


def exchange(one: str, other: str) -> None:
    """Swap two existing paths in one atomic step."""
    here = ctypes.c_int(_AT_FDCWD)
    paths = ctypes.c_char_p(os.fsencode(one)), ctypes.c_char_p(os.fsencode(other))
    _call("renameat2", here, paths[0], here, paths[1], ctypes.c_uint(_RENAME_EXCHANGE))


def file_system_type(path: str) -> int:
    """Return the magic number of the file system that holds `path`."""
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), path)
    room = ctypes.create_string_buffer(_STATFS_ROOM)
    _call("statfs", ctypes.c_char_p(os.fsencode(path)), room)
    return ctypes.c_ulong.from_buffer(room).value


def _call(name: str, *arguments: Any) -> None:
    function = getattr(_libc, name, None)
    if function is None:
        raise OSError(errno.ENOSYS, f"this system has no {name}")
    if function(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
