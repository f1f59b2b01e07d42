"""Where the body of an artifact arrives: spooled, hashed, compared with what was declared.

The digests are checked in `finish`, which the fetcher calls while it can still try again: a wrong body is a failed try like a broken one.
Bodies up to the hasher's inline limit stay in memory and are hashed at once; larger ones go to a file and are hashed by path in another
process (design, ruling 8).
"""

from flowsync.digest.hashing import digest_bytes, verify
from flowsync.download.spool import Spool
from flowsync.model.artifact import Artifact, StagedArtifact, staged_artifact
from flowsync.model.errors import SizeMismatchError
from flowsync.model.url import redact
from flowsync.stages.context import TransferContext


class Arrival(Spool):
    """The sink of one artifact's body. After `finish`, `staged` is the verified artifact."""

    def __init__(self, url: str, wanted: Artifact, context: TransferContext) -> None:
        super().__init__(context.staging, context.hasher.inline_limit)
        allowed = context.digest_policy.allowed
        self._shown = redact(url)
        self._wanted = wanted
        self._expected = {
            algorithm: value
            for algorithm, value in wanted.digests().items()
            if algorithm in allowed
        }
        self._hasher = context.hasher
        self.staged: StagedArtifact

    async def finish(self) -> None:
        """Compute the digests and compare them. Raise `SizeMismatchError` or `DigestMismatchError`."""
        await super().finish()
        if self._wanted.size is not None and self.size != self._wanted.size:
            raise SizeMismatchError(self._shown, self._wanted.size, self.size)
        algorithms = frozenset(self._expected)
        if self.path is None:
            digests = digest_bytes(self.body or b"", algorithms)
        else:
            _, digests = await self._hasher.digest(self.path, algorithms, size=self.size)
        verify(self._shown, self._expected, digests)
        self.staged = staged_artifact(self.size, digests, file=self.path, body=self.body)
