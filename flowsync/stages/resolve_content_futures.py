"""Tells those who await a content unit that it is stored."""

from flowsync.pipeline.stage import Stage


class ResolveContentFutures(Stage):
    """Resolves each item and hands it on. A resolved unit is stored, but not yet part of the new version. Order is kept."""

    async def run(self) -> None:
        """Resolve the items as they come."""
        async for batch in self.batches(1):
            for item in batch:
                item.resolve()
            await self.put_all(batch)
