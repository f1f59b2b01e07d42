"""Which process fetches what, of all that serve one home: a claim is a locked file, and whoever dies loses his.

Decided: locked files that are asked for again and again, at growing intervals, instead of the database's advisory locks, because each wait for one of
those holds a connection, and misses come by the thousand.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from flowsync.pipeline.threads import in_thread
from flowsync.store.failures import store_errors
from flowsync.store.locks import claim

_FIRST_WAIT: Final = 0.01
_LONGEST_WAIT: Final = 0.25


@asynccontextmanager
async def claimed(folder: str, name: str) -> AsyncIterator[bool]:
    """Hold the claim on `name` while the block runs, after waiting for whoever has it; yield whether there was a wait. Raise a `StoreError`."""
    path = f"{folder}/{name}.claim"
    lock = await in_thread(_claim, folder, path)
    waited, pause = lock is None, _FIRST_WAIT
    while lock is None:
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_WAIT)
        lock = await in_thread(_claim, folder, path)
    try:
        yield waited
    finally:
        await in_thread(_release, path, lock)


def _claim(folder: str, path: str) -> int | None:
    with store_errors(f"claiming {path}"):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return claim(path, os.O_CREAT)


def _release(path: str, lock: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
    os.close(lock)
