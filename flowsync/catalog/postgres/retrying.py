"""What is done again when it met another transaction, or its connection broke.

1. A deadlock or a serialisation failure ends one of those that met: nothing of it was done, and the
   other goes on. It is done again a few times, each time after a random wait, so that the same ones
   do not meet again.
2. A connection that breaks leaves open whether the work was done. It is done again once: the pool
   has looked at its connections by then, and one that breaks twice is worth an error.
3. So only what may be done twice is given to `repeated`: work whose second run finds or leaves the
   same rows as its first, and gives the same answer. Nothing in a session of its own is repeated
   (`Database.dedicated`): its locks and temporary tables went with the connection.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from flowsync.errors import CatalogConflictError, ConnectionLostError

T = TypeVar("T")

_CONFLICTS: Final = 4
"""How often one work may meet others before that is an error."""

_WAIT: Final = 0.05
"""Seconds that the first wait takes at most; each next one may take twice as long."""


async def repeated(work: Callable[[], Awaitable[T]]) -> T:
    """Do `work` and return what it returns; do it again where that may help. Otherwise raise what
    it raises.
    """
    conflicts = losses = 0
    while True:
        try:
            return await work()
        except CatalogConflictError:
            if conflicts == _CONFLICTS:
                raise
            await asyncio.sleep(random.uniform(0, _WAIT * 2**conflicts))  # noqa: S311 - no secret
            conflicts += 1
        except ConnectionLostError:
            if losses:
                raise
            losses += 1
