"""Hashing where there is no pool of hash workers: in a process that is itself a worker, one of
several.
"""

import asyncio

from flowsync.digest.hashing import digest_file
from flowsync.digest.pool import INLINE_LIMIT
from flowsync.errors import StoreError


class InlineHasher:
    """Does what a `Hasher` does, in a thread of its own process: others keep the remaining cores
    busy.
    """

    inline_limit = INLINE_LIMIT

    async def digest(
        self, path: str, algorithms: frozenset[str], *, size: int | None = None
    ) -> tuple[int, dict[str, str]]:
        """Return size in bytes and digests as `Hasher.digest` does. Raise `StoreError` and
        `DeclarationError` as it does.
        """
        try:
            return await asyncio.to_thread(digest_file, path, algorithms)
        except OSError as error:
            raise StoreError(f"hashing {path}: {error.strerror}") from error
