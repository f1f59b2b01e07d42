"""Saves new content units and links them to their artifacts.

Tells those who await a content unit that it is stored.
"""

import inspect
from collections.abc import Awaitable, Sequence
from functools import partial

from flowsync.catalog.postgres.database import repeated
from flowsync.catalog.records.contents import ContentTransaction, Link
from flowsync.declare import DeclarativeContent
from flowsync.model.artifact import StoredArtifact
from flowsync.stages.context import BoundStage
from flowsync.stages.stored_files import bringer


class ContentSaver(BoundStage):
    """Saves the units that are not stored yet, one transaction a batch.

    A new unit gets a link for each of its artifacts, without an artifact where the download is
    deferred. A unit that was stored already gets the artifact of an empty link filled in; nothing
    else of it ever changes. A unit that another sync saved in the meantime is treated as stored.

    Subclasses may override `_pre_save` and `_post_save`, plain methods or coroutines: both run
    inside the batch's transaction, which `transaction` gives them, and an error in either undoes
    the whole batch. What `_pre_save` changes of a unit that is not saved yet belongs to it.
    """

    hands_on = True

    transaction: ContentTransaction | None = None
    """The transaction of the batch at hand, for the hooks."""

    async def run(self) -> None:
        """Save the units of each batch."""
        async for batch in self.batches():
            if self._has_hooks() or any(_changes_something(item) for item in batch):
                await self._save(batch)
            await self.put_all(batch)

    def _pre_save(self, batch: Sequence[DeclarativeContent]) -> Awaitable[None] | None:
        """Do something in the transaction before the units of `batch` are saved."""

    def _post_save(self, batch: Sequence[DeclarativeContent]) -> Awaitable[None] | None:
        """Do something in the transaction after the units of `batch` were saved."""

    def _has_hooks(self) -> bool:
        kind = type(self)
        return (
            kind._pre_save is not ContentSaver._pre_save
            or kind._post_save is not ContentSaver._post_save
        )

    async def _save(self, batch: list[DeclarativeContent]) -> None:
        if self._has_hooks():
            # What hooks do outside the database cannot be taken back.
            await self._save_once(batch)
        else:
            await repeated(partial(self._save_once, batch))

    async def _save_once(self, batch: list[DeclarativeContent]) -> None:
        unsaved = [item for item in batch if not item.saved]
        try:
            async with self.context.catalog.contents.transaction() as transaction:
                self.transaction = transaction
                await _call(self._pre_save(batch))
                if self._has_hooks():
                    for item in unsaved:
                        item.fix_id()
                await _save_units(transaction, batch)
                await _call(self._post_save(batch))
        except BaseException:
            for item in unsaved:
                item.saved = False
            raise
        finally:
            self.transaction = None


async def _save_units(transaction: ContentTransaction, batch: list[DeclarativeContent]) -> None:
    unsaved = {item.content_id: item.content for item in batch if not item.saved}
    keys = {item.content_id: item.key_id for item in batch if item.key_id != item.content_id}
    inserted = await transaction.insert(unsaved, keys) if unsaved else set()
    await _adopt(transaction, batch, unsaved.keys() - inserted)
    new_links = {
        (item.content_id, link.relative_path): link
        for item in batch
        if item.content_id in inserted
        for link in _links(item)
    }
    if new_links:
        await transaction.link(list(new_links.values()))
    filled = [link for item in batch if item.saved for link in _links_to_fill(item)]
    if filled:
        await transaction.fill(filled)
    for item in batch:
        item.saved = True


async def _call(outcome: Awaitable[None] | None) -> None:
    if inspect.isawaitable(outcome):
        await outcome


async def _adopt(
    transaction: ContentTransaction, batch: list[DeclarativeContent], taken: set[bytes]
) -> None:
    """Treat units that someone else saved between the look-up and the insert as stored ones."""
    if not taken:
        return
    found = await transaction.find(taken)
    for item in batch:
        known = found.get(item.content_id)
        if known is not None:
            item.saved, item.known_links = True, known


def _changes_something(item: DeclarativeContent) -> bool:
    return not item.saved or bool(_links_to_fill(item))


def _links(item: DeclarativeContent) -> list[Link]:
    return [
        Link(
            content_id=item.content_id,
            relative_path=declared.relative_path,
            artifact_id=declared.artifact.id
            if isinstance(declared.artifact, StoredArtifact)
            else None,
        )
        for declared in item.d_artifacts
    ]


def _links_to_fill(item: DeclarativeContent) -> list[Link]:
    known = item.known_links
    if None not in known.values():
        return []
    for declared in item.d_artifacts:
        if isinstance(declared.artifact, StoredArtifact):
            break
    else:
        return []
    return [
        link
        for link in _links(item)
        if link.artifact_id is not None
        and link.relative_path in known
        and known[link.relative_path] is None
    ]


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
