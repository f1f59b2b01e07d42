"""Records where the artifacts of content can be fetched from.

Adds alternate content sources to artifacts, before they are downloaded.
"""

import logging
from typing import NamedTuple

from flowsync.catalog.records.remotes import RecordedSource
from flowsync.declare import DeclarativeArtifact, DeclarativeContent, Source
from flowsync.errors import DeclarationError
from flowsync.model.remote import Remote
from flowsync.model.url import redact
from flowsync.stages.context import BoundStage

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
