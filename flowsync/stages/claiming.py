"""Which artifacts have a partial, and for how long a download holds it.

1. A partial belongs to an artifact with a digest that the policy allows, which tells whether its
   bytes are right wherever they came from, and with a size of at least `KEPT_FROM`.
2. It is claimed for all tries of the artifact, from whatever URL, and given back when the artifact
   is staged or has failed.
3. Smaller bodies pay nothing: no file is looked for, no lock taken.

Decided: the size must be declared, because it is what tells before the request whether there may be
something to go on from. Without it every small body would pay for a look.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final

from flowsync.model.artifact import Artifact
from flowsync.runtime.threads import in_thread
from flowsync.stages.single_flight import key
from flowsync.store.partials import Partial, claimed

KEPT_FROM: Final = 8 << 20
"""Bytes from which a body outlives its run."""


def partial_name(artifact: Artifact, allowed: frozenset[str]) -> str | None:
    """Return the name of the artifact's partial, or `None` where there is to be none."""
    if artifact.size is None or artifact.size < KEPT_FROM:
        return None
    digest = key(artifact, allowed)
    return None if digest is None else "-".join(digest)


@asynccontextmanager
async def claim(staging: str, name: str, size: int) -> AsyncIterator[Partial | None]:
    """Hold the partial for the block; give `None` where another has it, in this process or
    elsewhere.
    """
    held = ExitStack()
    try:
        yield await in_thread(held.enter_context, claimed(staging, name, size))
    finally:
        await in_thread(held.close)
