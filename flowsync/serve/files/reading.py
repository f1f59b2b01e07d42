"""Opens what goes out of a file. Blocks the caller, so it belongs in a thread.

One job opens, compares the size, and reads what is small: a request for a small file costs one way
into a thread and back, and no file is left open for it. What is large stays in the file and goes
out from there.

What cannot be opened or read is as good as missing, whatever the reason. Only what is scarce,
such as descriptors, says nothing of the file.
"""

import errno
import os
import stat
from typing import Final

from flowsync.serve.http.answer import OpenPart, Unreadable
from flowsync.serve.http.ranges import Slice

SMALL: Final = 64 * 1024
"""Bytes up to which a part is read at once (bench/serving)."""

SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN})
"""What the system says when it is short of something."""


def open_part(path: str, size: int, part: Slice) -> bytes | OpenPart | Unreadable:
    """Return the part of the file, read or open, or why it cannot be had: one of another size is
    damaged. Raise `OSError` when something is scarce.
    """
    try:
        return _open_part(path, size, part)
    except FileNotFoundError as error:
        return Unreadable(_said(error), there=False)
    except OSError as error:
        if error.errno in SCARCE:
            raise
        return Unreadable(_said(error), there=True)


def open_whole(path: str, size: int) -> int:
    """Open a file, and return its descriptor. Raise `OSError`, also when it is no file or not one
    of that size.
    """
    # What stands there may be no file: opening a pipe must not wait.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no file", path)
        if found.st_size != size:
            raise OSError(errno.EINVAL, f"it has {found.st_size} of {size} bytes", path)
    except BaseException:
        os.close(file)
        raise
    return file


def _open_part(path: str, size: int, part: Slice) -> bytes | OpenPart:
    # What is not small stays open for the sender.
    file = os.fdopen(open_whole(path, size), "rb", buffering=0)
    if part.count > SMALL:
        return OpenPart(file, part)
    with file:
        body = os.pread(file.fileno(), part.count, part.offset)
    if len(body) < part.count:
        raise OSError(errno.EINVAL, "it has become shorter", path)
    return body


def _said(error: OSError) -> str:
    return error.strerror or repr(error)
