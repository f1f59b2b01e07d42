"""Finds the artifacts whose bytes are already stored, so that they are not downloaded."""

from flowsync.declare import DeclarativeArtifact, DeclarativeContent
from flowsync.model.artifact import StoredArtifact
from flowsync.model.errors import SizeMismatchError
from flowsync.model.url import redact
from flowsync.stages.context import BoundStage


class QueryExistingArtifacts(BoundStage):
    """Replaces declared artifacts by their stored counterparts.

    Expects declared content. Every artifact with an allowed digest that the catalog knows is swapped, deferred ones too: on-demand content
    whose bytes are here is complete for free. One catalog call a batch; order is kept.

    Raises `UnsupportedDigestError` when an artifact that is to be downloaded declares only digests that the policy forbids, and
    `SizeMismatchError` when upstream declares another size than the stored bytes have.
    """

    hands_on = True

    async def run(self) -> None:
        """Look the artifacts of each batch up."""
        async for batch in self.batches():
            await self._swap_stored(batch)
            await self.put_all(batch)

    async def _swap_stored(self, batch: list[DeclarativeContent]) -> None:
        wanted = [
            declared
            for content in batch
            for declared in content.d_artifacts
            if not isinstance(declared.artifact, StoredArtifact)
        ]
        policy = self.context.digest_policy
        for declared in wanted:
            if declared.wants_download and policy.refuses(declared.artifact.digests()):
                policy.check_expected(redact(declared.url), declared.artifact.digests())
        if not wanted:
            return
        artifacts = [declared.artifact for declared in wanted]
        found = await self.context.catalog.artifacts.find(artifacts, policy.allowed)
        for declared, stored in zip(wanted, found, strict=True):
            if stored is not None:
                _swap(declared, stored)


def _swap(declared: DeclarativeArtifact, stored: StoredArtifact) -> None:
    size = declared.artifact.size
    if size is not None and size != stored.size:
        raise SizeMismatchError(redact(declared.url), size, stored.size or 0)
    declared.artifact = stored
