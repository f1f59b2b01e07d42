"""A rate that is kept: so many bytes a second, over all who read.

Whoever has read something says how much and waits until that much time is due. So a first piece is
never waited for, and a pause is not saved up for a rush.
"""

import asyncio
import time
from typing import Final

from flowsync.digest.hashing import FileDigest
from flowsync.errors import StoreError
from flowsync.runtime.threads import in_thread, opened_in_thread

PIECE: Final = 1 << 20
"""Bytes that are read at once where a rate is to be kept."""


class Pace:
    """Keeps `rate` bytes a second; `None` keeps nobody waiting. Any number of tasks may use it at
    once.
    """

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._free_at = 0.0

    async def spend(self, size: int) -> None:
        """Wait until the `size` bytes, and those that others spent before, are within the rate."""
        if self.rate is None:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + size / self.rate
        await asyncio.sleep(self._free_at - now)


async def digest_at_pace(path: str, pace: Pace) -> tuple[int, dict[str, str]]:
    """Return size and digests of a file as a `Hasher` does, reading it in pieces at the given pace.
    Raise `StoreError` when it cannot be read.
    """
    try:
        digest = await opened_in_thread(FileDigest, path, close=FileDigest.close)
        try:
            while count := await in_thread(digest.read, PIECE):
                await pace.spend(count)
        finally:
            await in_thread(digest.close)
    except OSError as error:
        raise StoreError(f"hashing {path}: {error.strerror}") from error
    return digest.size, digest.digests()
