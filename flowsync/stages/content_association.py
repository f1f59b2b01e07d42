"""Puts content into the new version, and says what of the old one was not seen again."""

from typing import TYPE_CHECKING

import msgspec

from flowsync.declare import DeclarativeContent
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
