"""Finds the artifacts whose bytes are already stored, so that they are not downloaded.

Finds the content units that the catalog already holds.
"""

from flowsync.declare import DeclarativeArtifact, DeclarativeContent
from flowsync.errors import IntegrityError, SizeMismatchError, UnsupportedDigestError
from flowsync.model.artifact import StoredArtifact
from flowsync.model.url import redact
from flowsync.stages.context import BoundStage


class QueryExistingArtifacts(BoundStage):
    """Replaces declared artifacts by their stored counterparts.

    Expects declared content. Every artifact with an allowed digest that the catalog knows is
    swapped, deferred ones too: on-demand content whose bytes are here is complete for free. One
    catalog call a batch; order is kept.

    Raises `UnsupportedDigestError` when an artifact declares only digests that the policy forbids,
    and `SizeMismatchError` when upstream declares another size than the stored bytes have. Where
    the sync may go on without the content, the failure stays with the item instead, as that of a
    download does.
    """

    hands_on = True

    async def run(self) -> None:
        """Look the artifacts of each batch up."""
        async for batch in self.batches():
            await self._swap_stored(batch)
            await self.put_all(batch)

    async def _swap_stored(self, batch: list[DeclarativeContent]) -> None:
        wanted = [
            (content, declared)
            for content in batch
            for declared in content.d_artifacts
            if not isinstance(declared.artifact, StoredArtifact)
        ]
        policy = self.context.digest_policy
        # Nearly all declare a sha256, which nearly all policies allow.
        by_sha256 = "sha256" in policy.allowed
        for content, declared in wanted:
            if by_sha256 and declared.artifact.sha256 is not None:
                continue
            if _is_to_be_verified(declared) and policy.refuses(declared.artifact.digests()):
                self._check_digests(content, declared)
        if not wanted:
            return
        artifacts = [declared.artifact for _, declared in wanted]
        found = await self.context.catalog.artifacts.find(artifacts, policy.allowed)
        for (content, declared), stored in zip(wanted, found, strict=True):
            if stored is not None:
                self._swap(content, declared, stored)

    def _check_digests(self, content: DeclarativeContent, declared: DeclarativeArtifact) -> None:
        try:
            self.context.digest_policy.check_expected(
                redact(declared.url), declared.artifact.digests()
            )
        except UnsupportedDigestError as failure:
            self._fail(content, failure)

    def _swap(
        self, content: DeclarativeContent, declared: DeclarativeArtifact, stored: StoredArtifact
    ) -> None:
        size = declared.artifact.size
        if size is None or size == stored.size:
            declared.artifact = stored
        else:
            self._fail(content, SizeMismatchError(redact(declared.url), size, stored.size or 0))

    def _fail(self, content: DeclarativeContent, failure: IntegrityError) -> None:
        if self.context.on_error == "fail":
            raise failure
        content.failure = failure


def _is_to_be_verified(declared: DeclarativeArtifact) -> bool:
    """Say whether its bytes are to come from a source, now or later."""
    return declared.wants_download or declared.remote is not None


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
