"""A rate that is kept: so many bytes a second, over all who read.

Whoever has read something says how much and waits until that much time is due. So a first piece is
never waited for, and a pause is not saved up for a rush.
"""

import asyncio
import time
from collections.abc import AsyncIterable

from flowsync.digest.hashing import RunningDigest
from flowsync.runtime.threads import in_thread


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


async def digest_at_pace(chunks: AsyncIterable[bytes], pace: Pace) -> tuple[int, dict[str, str]]:
    """Return size and digests of what comes as a `Hasher` does, at the given pace. Raise what the
    chunks raise.
    """
    digest = RunningDigest()
    async for chunk in chunks:
        await in_thread(digest.update, chunk)
        await pace.spend(len(chunk))
    return digest.size, digest.digests()
