"""Takes content out of the new version that upstream no longer has."""

from typing import TYPE_CHECKING

from flowsync.errors import MassRemovalError
from flowsync.pipeline.stage import Stage
from flowsync.stages.content_association import UnseenContent

if TYPE_CHECKING:
    from flowsync.catalog.versions.new_version import NewVersion

GUARDED_FROM = 100
"""Units that a version must have for its removals to be suspicious. Small repositories change
wholly for good reasons.
"""


class ContentUnassociation(Stage):
    """Removes the `UnseenContent` that `ContentAssociation` found, in one statement; everything
    else passes.

    `max_removal` is the share of the latest version's units that may go at once, where it has more
    than 100: an upstream that lost half of its content overnight is more likely broken than right.
    Whatever its size, a version is emptied only with a share of 1. Raises `MassRemovalError`
    otherwise, which discards the version.
    """

    def __init__(self, new_version: "NewVersion", max_removal: float = 1.0) -> None:
        self.new_version = new_version
        self.max_removal = max_removal

    async def run(self) -> None:
        """Pass items on; remove what was not seen."""
        added = 0
        with self.meter("unassociating.content", "Un-Associating Content") as meter:
            async for item in self.items():
                if isinstance(item, UnseenContent):
                    meter.advance(await self._remove(added))
                else:
                    added += 1
                    await self.put(item)

    async def _remove(self, added: int) -> int:
        version = self.new_version
        removed = await version.remove_unseen()
        present = version.present_before
        if is_mass_removal(present, removed, self.max_removal, added=added):
            raise MassRemovalError(version.repository, removed, present, self.max_removal)
        return removed


def is_mass_removal(present: int, removed: int, limit: float, *, added: int) -> bool:
    """Say whether so many units go, of those that were present, that upstream is more likely broken
    than right; `limit` is the share that may.
    """
    if present and removed >= present and not added:
        return limit < 1
    return present > GUARDED_FROM and removed > limit * present
