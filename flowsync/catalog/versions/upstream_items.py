"""What syncs of a repository saw of upstream item by item, over the session that holds the
repository, so that nobody else writes it.

What is written belongs to a generation. It counts from when the record of a sync
(`repository.last_sync`) names that generation, which is when the sync is complete; a sync that died
leaves rows of a generation that no record names, and the next one that writes removes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from flowsync.catalog.versions.session import RepositorySession


class UpstreamItems:
    """The items of one repository."""

    def __init__(self, session: RepositorySession) -> None:
        self._session = session

    async def recall(self, generation: int, names: Sequence[str] | None) -> dict[str, Any]:
        """Return what counts of the named items, or of all, up to a generation."""
        rows = await self._session.fetch(
            "recall_items",
            generation=generation,
            items=None if names is None else list(names),
        )
        return {item: msgspec.json.decode(seen) for item, seen in rows}

    async def discard(self, generation: int) -> None:
        """Remove what does not count in a generation; in generation 0 nothing does."""
        await self._session.execute("discard_items", generation=generation)

    async def remember(self, generation: int, items: Mapping[str, Any]) -> None:
        """Write what was seen of items, which is JSON; `None` forgets one."""
        await self._session.execute(
            "remember_items",
            generation=generation,
            items=list(items),
            seen=[
                None if seen is None else msgspec.json.encode(seen).decode()
                for seen in items.values()
            ],
        )
