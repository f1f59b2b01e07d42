"""Which artifacts have a partial, and for how long one acquisition holds it.

1. A partial belongs to an artifact with a digest that the policy allows, which tells whether its
   bytes are right wherever they came from, and with a size of at least `KEPT_FROM`.
2. It is held for all tries of the artifact, from whatever URL, and given back when the artifact is
   staged or has failed.
3. Smaller bodies pay nothing: no file is looked for, no lock taken.

Decisions: docs/decisions/0014.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final

from flowsync.acquire.single_flight import Key
from flowsync.model.artifact import Artifact
from flowsync.runtime.threads import in_thread
from flowsync.store.partials import Partial, claimed

KEPT_FROM: Final = 8 << 20
"""Bytes from which a body outlives its run."""


def has_partial(artifact: Artifact) -> bool:
    """Say whether what comes of the artifact is kept, if it has a digest that may vouch for it."""
    return artifact.size is not None and artifact.size >= KEPT_FROM


@asynccontextmanager
async def resumable(staging: str, digest: Key, size: int) -> AsyncIterator[Partial | None]:
    """Hold the partial of the bytes with that digest for the block; give `None` while another has
    it, in this process or elsewhere.
    """
    held = ExitStack()
    try:
        yield await in_thread(held.enter_context, claimed(staging, "-".join(digest), size))
    finally:
        await in_thread(held.close)
