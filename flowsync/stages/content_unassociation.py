"""Takes content out of the new version that upstream no longer has."""

from typing import TYPE_CHECKING

from flowsync.pipeline.stage import Stage
from flowsync.stages.content_association import UnseenContent

if TYPE_CHECKING:
    from flowsync.catalog.new_version import NewVersion


class ContentUnassociation(Stage):
    """Removes the `UnseenContent` that `ContentAssociation` found, in one statement; everything else passes."""

    def __init__(self, new_version: "NewVersion") -> None:
        self.new_version = new_version

    async def run(self) -> None:
        """Pass items on; remove what was not seen."""
        with self.meter("unassociating.content", "Un-Associating Content") as meter:
            async for item in self.items():
                if isinstance(item, UnseenContent):
                    meter.advance(await self.new_version.remove_unseen())
                else:
                    await self.put(item)
