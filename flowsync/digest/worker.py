"""What runs in a hash worker: one batch of paths after the other, and nothing once the parent is gone.

Like `flowsync.digest.hashing`, this module is imported by every worker and stays light. Errors of single files travel back as values and
become flowsync errors in the parent, so that one unreadable file costs no other its digest.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from typing import TypeAlias

from flowsync.digest.hashing import digest_file

Request: TypeAlias = tuple[str, frozenset[str]]
"""The path of a file and the algorithms asked for."""

Answer: TypeAlias = tuple[int, dict[str, str]] | OSError | ValueError
"""Size in bytes and hexadecimal digests, or why the file could not be read."""

_SECONDS_BETWEEN_LOOKS = 5.0


def digest_batch(requests: Sequence[Request]) -> list[Answer]:
    """Hash files and return one answer a request, in order."""
    return [_answer(path, algorithms) for path, algorithms in requests]


def settle_in() -> None:
    """Make this process one that can be ended: by SIGTERM, whatever the parent does with it, and by the parent's death. Called once, first of all."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _answer(path: str, algorithms: frozenset[str]) -> Answer:
    try:
        return digest_file(path, algorithms)
    except (OSError, ValueError) as error:
        return error


def _end_with_parent() -> None:
    """Wait until the parent is gone, however it went, and go too.

    The workers of a pool hold each other's queues open, so a killed parent is no end of file to them; without this they would live for
    ever. Processes that the caller forked can hold the parent's end open too: that is why the parent's id is looked at now and then.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    while parent.is_alive() and os.getppid() == parent.pid:
        parent.join(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
