"""Whether a server that ended without a word had no room on its disk: its words go to a file there,
and are lost with it.
"""

import errno
import os
import tempfile
from pathlib import Path
from typing import Final

_NEEDED: Final = 16 << 20
"""Bytes that a start may take: a segment of the log."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def lack_of_room(folder: Path) -> str | None:
    """Return what the system says when a server needs room in the folder and there is none; `None`
    when there is.
    """
    try:
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize
        if free < _NEEDED:
            return f"{os.strerror(errno.ENOSPC)}: {free} bytes are free in {folder}"
        # What a quota leaves, nobody tells but the attempt.
        with tempfile.TemporaryFile(dir=folder) as probe:
            os.posix_fallocate(probe.fileno(), 0, _NEEDED)
    except OSError as error:
        return f"{error.strerror}: {folder}" if error.errno in _FULL else None
    return None
