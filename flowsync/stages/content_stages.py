"""The stages of content, in the order of a sync: stored units are found, new ones saved and
linked, it is recorded where their artifacts come from, and the new version gets what is in it.

One module: each goes on where the one before ends; none is used alone.
"""

import inspect
import logging
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from flowsync.catalog.postgres.database import repeated
from flowsync.catalog.records.contents import ContentTransaction, Link
from flowsync.catalog.records.remotes import RecordedSource
from flowsync.declare import DeclarativeArtifact, DeclarativeContent, Source
from flowsync.errors import DeclarationError, MassRemovalError
from flowsync.model.artifact import StoredArtifact
from flowsync.model.measures import expect_share
from flowsync.model.remote import Remote
from flowsync.model.url import redact
from flowsync.pipeline.stage import Stage
from flowsync.stages.admission import check_declared
from flowsync.stages.context import BoundStage, bringer

if TYPE_CHECKING:
    from flowsync.catalog.versions.new_version import NewVersion


class QueryExistingContents(BoundStage):
    """Marks the units that are stored as saved; it saves nothing.

    Here the id of a unit is fixed. It covers all that is declared (`model/content.py`), so a
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


# Saves new content units and links them to their artifacts.


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
    """Treat units that another sync saved between the look-up and the insert as stored ones."""
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


# Tells those who await a content unit that it is stored.


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


# Records where the artifacts of content can be fetched from.

_log = logging.getLogger(__name__)


class _Offer(NamedTuple):
    item: DeclarativeContent
    declared: DeclarativeArtifact
    remote: Remote


class RemoteArtifactSaver(BoundStage):
    """Records every declared artifact's remote with all its URLs, size, digests and the headers in
    `extra_data`, as far as they can be no secret, whatever the policy: repair and reclaim need them
    too.

    Expects saved content. A declaration is matched to the stored unit by its relative path. One
    without a match is an error, or, with `fix_mismatched_remote_artifacts`, is given the last path
    of the stored unit, with a warning. One catalog call a batch; order is kept.

    Raises `DeclarationError` (a `ValueError`) that names path and content when nothing matches, and
    `UnsupportedDigestError` when only digests are declared that the policy forbids.
    """

    hands_on = True

    def __init__(self, fix_mismatched_remote_artifacts: bool = False) -> None:
        self.fix_mismatched_remote_artifacts = fix_mismatched_remote_artifacts

    async def run(self) -> None:
        """Record the sources of each batch."""
        async for batch in self.batches():
            offers = [
                _Offer(item, declared, declared.remote)
                for item in batch
                for declared in item.d_artifacts
                if declared.remote is not None
            ]
            if offers:
                await self._record(offers)
            await self.put_all(batch)

    async def _record(self, offers: list[_Offer]) -> None:
        unmatched = await self._save(offers)
        if not unmatched:
            return
        mismatched = [offers[ordinal] for ordinal in unmatched]
        if not self.fix_mismatched_remote_artifacts:
            raise _mismatch(mismatched[0])
        await self._fix_paths(mismatched)
        await self._save(mismatched)

    async def _save(self, offers: list[_Offer]) -> list[int]:
        policy = self.context.digest_policy
        for offer in offers:
            digests = offer.declared.artifact.digests()
            if policy.refuses(digests):
                policy.check_expected(redact(offer.declared.url), digests)
        ids = await self.context.remote_ids({offer.remote.name: offer.remote for offer in offers})
        return await self.context.catalog.remotes.save_sources(
            [
                RecordedSource(
                    content_id=offer.item.content_id,
                    relative_path=offer.declared.relative_path,
                    remote_id=ids[offer.remote.name],
                    urls=offer.declared.urls,
                    artifact=offer.declared.artifact,
                    headers=offer.declared.extra_data.get("headers") or {},
                )
                for offer in offers
            ]
        )

    async def _fix_paths(self, offers: list[_Offer]) -> None:
        paths = await self.context.catalog.remotes.links_of(
            [offer.item.content_id for offer in offers]
        )
        for offer in offers:
            stored = paths.get(offer.item.content_id)
            if not stored:
                raise _mismatch(offer)
            _log.warning(
                "%s: no stored artifact at %s, its source is recorded at %s instead",
                offer.item,
                offer.declared.relative_path,
                stored[-1],
            )
            offer.declared.relative_path = stored[-1]


def _mismatch(offer: _Offer) -> DeclarationError:
    return DeclarationError(
        f"cannot record where {offer.declared.relative_path!r} comes from: "
        f"the stored unit {offer.item.content!r} has no artifact at that path"
    )


# Adds alternate content sources to artifacts, before they are downloaded.


class ACSArtifactHandler(BoundStage):
    """Puts the URLs that alternate sources have for the same digest in front of an artifact's own.

    Expects declared content. Each alternate keeps its own remote, so that a fall-back to the
    original uses the original's credentials, and the original stays the recorded source. Sources
    are ordered by priority, then name; one whose bytes at a path were wrong a short time ago is not
    asked for them. One catalog call a batch; order is kept.
    """

    hands_on = True

    async def run(self) -> None:
        """Look for alternates of the artifacts of each batch."""
        async for batch in self.batches():
            await self._add_alternates(batch)
            await self.put_all(batch)

    async def _add_alternates(self, batch: list[DeclarativeContent]) -> None:
        wanted = [
            declared
            for content in batch
            for declared in content.d_artifacts
            if declared.wants_download
        ]
        if not wanted:
            return
        artifacts = [declared.artifact for declared in wanted]
        remotes = self.context.catalog.remotes
        found = await remotes.alternates(artifacts, self.context.digest_policy.allowed)
        known = self.context.alternate_remotes
        unknown = {source.remote_name for sources in found for source in sources} - known.keys()
        if unknown:
            known.update(await remotes.load(unknown))
        for declared, sources in zip(wanted, found, strict=True):
            for source in sources:
                _add(declared, known[source.remote_name], source.urls)


def _add(declared: DeclarativeArtifact, remote: Remote, urls: list[str]) -> None:
    own = remote is declared.remote or (
        declared.remote is not None and remote.name == declared.remote.name
    )
    if not own:
        declared.alternates.append(Source(remote, urls))


# Puts content into the new version, and says what of the old one was not seen again.


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


# Takes content out of the new version that upstream no longer has.

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
    otherwise, which discards the version, and `SettingsError` for what is no share.
    """

    def __init__(self, new_version: "NewVersion", max_removal: float = 1.0) -> None:
        expect_share("max_removal", max_removal)
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
        return not limit >= 1
    # Asked this way round, what is no number lets nothing go.
    return present > GUARDED_FROM and not removed <= limit * present
