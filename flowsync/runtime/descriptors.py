"""The descriptors of this process: the standard ones, and how many files and sockets it may have
open.

1. A supervisor may start a program with standard descriptors (0, 1, 2) closed. The next socket or
   file that is opened takes such a number then: the event loop aborts when it must close it, and
   children write their words into it. So a missing one is opened on the null device before anything
   else.
2. The limit is the soft one of the process as it is now. A program raises it when it starts; the
   library leaves it alone. What is shared out leaves room for the loop, the database's sessions and
   the files that threads have open for a moment.
"""

import os
import resource
from contextlib import suppress
from typing import Final

LEAST: Final = 64
"""Descriptors without which nothing works."""

_KEPT: Final = 60
"""Descriptors for all that is not shared out."""

_A_DOWNLOAD: Final = 4
"""A socket, an idle one, the file that is written, and its lock."""

_A_SYNC: Final = 10
_A_WORKER: Final = 16

_UNLIMITED: Final = 1 << 20
_LAST_STANDARD: Final = 2


def open_missing() -> None:
    """Open the standard descriptors that are closed on the null device; children inherit them."""
    # The system gives the lowest free number: the first one above them says that none is missing.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def raise_limit() -> int:
    """Raise the soft limit as far as the hard one lets it, and return it. For the start of a
    program.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _UNLIMITED if hard == resource.RLIM_INFINITY else min(hard, _UNLIMITED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Some systems allow less than the hard limit says.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return allowed()


def allowed() -> int:
    """Return how many descriptors the process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else min(soft, _UNLIMITED)


def downloads() -> int:
    """Return how many downloads may go on at once."""
    return max(1, (allowed() - _KEPT) // _A_DOWNLOAD)


def syncs() -> int:
    """Return how many syncs may go on at once."""
    return max(1, (allowed() - _KEPT) // _A_SYNC)


def workers() -> int:
    """Return how many worker processes an executor of this machine may have."""
    return max(1, (allowed() - _KEPT) // _A_WORKER)


def how_to_raise() -> str:
    """Return words on the limit and on how to raise it, for errors."""
    return (
        f"this process may have {allowed()} open; "
        "raise that with `ulimit -n`, or LimitNOFILE= of a systemd unit"
    )
