"""Which process fetches what, of all that serve one home: a claim is a locked file, and whoever
dies loses his.

Decisions: docs/decisions/0016.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from flowsync.runtime.threads import in_thread, opened_in_thread
from flowsync.store.file_locks import claim

_FIRST_WAIT: Final = 0.01
_LONGEST_WAIT: Final = 0.25
_NONE: Final = -1


@asynccontextmanager
async def claimed(folder: str, name: str) -> AsyncIterator[None]:
    """Hold the claim on `name` while the block runs, after waiting for whoever has it. Where no
    file can be made, go without one.
    """
    path = f"{folder}/{name}.claim"
    pause = _FIRST_WAIT
    release = partial(_release, path)
    while (lock := await opened_in_thread(_claim, folder, path, close=release)) is None:
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_WAIT)
    try:
        yield
    finally:
        await in_thread(release, lock)


def _claim(folder: str, path: str) -> int | None:
    """Return the lock's descriptor, `None` while another has it, or `_NONE` when a full or
    read-only disk takes no claims.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return claim(path, os.O_CREAT)
    except OSError:
        return _NONE


def _release(path: str, lock: int | None) -> None:
    if lock is not None and lock != _NONE:
        with suppress(OSError):
            os.unlink(path)
        os.close(lock)
