"""Finds the content units that the catalog already holds."""

from flowsync.declare import DeclarativeContent
from flowsync.stages.context import BoundStage


class QueryExistingContents(BoundStage):
    """Marks the units that are stored as saved; it saves nothing.

    Here the id of a unit is fixed. It covers all that is declared (`model/identity.py`), so a
    stored unit has the declared fields, paths and digests. The links of a stored unit are kept on
    its declaration, so that the saver knows what to fill without asking. One catalog call a batch;
    order is kept.
    """

    hands_on = True

    async def run(self) -> None:
        """Look the units of each batch up."""
        async for batch in self.batches():
            await self._mark_stored(batch)
            await self.put_all(batch)

    async def _mark_stored(self, batch: list[DeclarativeContent]) -> None:
        wanted = {item.fix_id(): item for item in batch if not item.saved}
        if not wanted:
            return
        found = await self.context.catalog.contents.find(wanted)
        for item in batch:
            known = found.get(item.content_id)
            if known is not None and not item.saved:
                item.saved, item.known_links = True, known
