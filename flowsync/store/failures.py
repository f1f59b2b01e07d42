"""The translation of what the operating system refuses into the errors of the store and of exports.

Decisions: docs/decisions/0009.

What file systems lack, and how that is told: once a process for each of them, in the log.

A file system that cannot flush, or cannot change modes, is used all the same: what is written there
is as right as anywhere, but may be lost with the power. One without locks cannot be used: the error
says which it is.
"""

import errno
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from flowsync.errors import ExportError, StoreError, StoreFullError, StoreUnwritableError
from flowsync.runtime.descriptors import how_to_raise

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
