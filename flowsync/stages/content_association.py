"""Puts content into the new version, and says what of the old one was not seen again.

Takes content out of the new version that upstream no longer has.
"""

from typing import TYPE_CHECKING

import msgspec

from flowsync.declare import DeclarativeContent
from flowsync.errors import MassRemovalError
from flowsync.pipeline.stage import Stage
from flowsync.stages.admission import check_declared

if TYPE_CHECKING:
    from flowsync.catalog.versions.new_version import NewVersion


class UnseenContent(msgspec.Struct, frozen=True):
    """All units of the version that the stream did not contain: a description, not a list, so it is
    small whatever their number.
    """

    version: "NewVersion"


class ContentAssociation(Stage):
    """Associates each unit with `new_version` and hands on those that were not in it before.

    Every unit of the stream is remembered in the database, so that the end of the version sees what
    excludes each other. With `mirror`, when the stream has ended, completely and without an error,
    `UnseenContent` follows: the stage behind removes it. One catalog call a batch.
    """

    accepts = staticmethod(check_declared)
    hands_on = True

    def __init__(self, new_version: "NewVersion", mirror: bool) -> None:
        self.new_version = new_version
        self.mirror = mirror

    async def run(self) -> None:
        """Associate the units of each batch."""
        with self.meter("associating.content", "Associating Content") as meter:
            async for batch in self.batches():
                await self.put_all(await self._associate(batch))
                meter.advance(len(batch))
        if self.mirror:
            await self.put(UnseenContent(self.new_version))

    async def _associate(self, batch: list[DeclarativeContent]) -> list[DeclarativeContent]:
        items = {item.content_id: item for item in batch}
        added = await self.new_version.associate(
            list(items), seen=True, lines=[item.line for item in items.values()]
        )
        return [item for content_id, item in items.items() if content_id in added]


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
