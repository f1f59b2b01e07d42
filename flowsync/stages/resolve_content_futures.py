"""Tells those who await a content unit that it is stored."""

from flowsync.pipeline.stage import Stage
from flowsync.stages.admission import check_declared


class ResolveContentFutures(Stage):
    """Resolves each item and hands it on. A resolved unit is stored, but not yet part of the new
    version. Order is kept.
    """

    accepts = staticmethod(check_declared)
    hands_on = True

    async def run(self) -> None:
        """Resolve the items as they come."""
        async for batch in self.batches(1):
            for item in batch:
                item.resolve()
            await self.put_all(batch)
