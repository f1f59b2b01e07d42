"""Adds alternate content sources to artifacts, before they are downloaded."""

from flowsync.declare import DeclarativeArtifact, DeclarativeContent, Source
from flowsync.model.remote import Remote
from flowsync.stages.context import BoundStage


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
