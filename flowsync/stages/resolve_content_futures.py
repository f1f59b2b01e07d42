"""Tells those who await a content unit that it is stored."""

from flowsync.stages.context import BoundStage
from flowsync.stages.stored_files import bringer


class ResolveContentFutures(BoundStage):
    """Resolves each item and hands it on. A resolved unit is stored, but not yet part of the new
    version. Order is kept.

    Where the store has no local files, those who await a unit get files of its stored bytes.
    """

    hands_on = True

    async def run(self) -> None:
        """Resolve the items as they come."""
        # A pipeline of its own needs no store.
        bring = None if self._context is None else bringer(self.context)
        async for batch in self.batches(1):
            for item in batch:
                if bring is not None:
                    item.bring = bring
                item.resolve()
            await self.put_all(batch)
