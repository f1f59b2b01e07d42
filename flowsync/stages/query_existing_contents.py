"""Finds the content units that the catalog already holds."""

from flowsync.declare import DeclarativeContent
from flowsync.stages.context import BoundStage


class QueryExistingContents(BoundStage):
    """Replaces declared units by their stored counterparts; it saves nothing.

    Units are looked up by their computed id, so equal keys of two types cannot be mixed up. The links of a stored unit are kept on its
    declaration, so that the saver knows what to change without asking. One catalog call a batch; order is kept.
    """

    hands_on = True

    async def run(self) -> None:
        """Look the units of each batch up."""
        async for batch in self.batches():
            await self._swap_stored(batch)
            await self.put_all(batch)

    async def _swap_stored(self, batch: list[DeclarativeContent]) -> None:
        wanted = {item.content_id: item.content for item in batch if not item.saved}
        if not wanted:
            return
        found = await self.context.catalog.contents.find(wanted)
        for item in batch:
            known = found.get(item.content_id)
            if known is not None and not item.saved:
                item.content, item.saved, item.known_links = known.content, True, known.links
