"""Downloads in worker processes: the stage of the pipeline that stands for them."""

from collections.abc import Sequence

import msgspec

from flowsync.declare import DeclarativeArtifact, DeclarativeContent
from flowsync.model.remote import Remote
from flowsync.pipeline.hosting import LARGEST_BATCH, HostedSegment, Hosting
from flowsync.stages.context import BoundStage, DownloadWorkers
from flowsync.stages.declaration_crossing import DeclarationCodec
from flowsync.stages.download_worker import Terms, download_batch


class HostedDownloads(HostedSegment, BoundStage):
    """Has the work of the `ArtifactDownloader` behind it done by worker processes, as far as they can do it.

    Content without work passes by, and so does content from a remote with a rate limit, or that allows fewer requests at a time than there are
    workers: each worker counts its share for itself, or learns it. The `ArtifactDownloader` does what is left, and leaves what is done. Leases are
    taken here, before a content is sent.

    Raises what an `ArtifactDownloader` raises, and `CannotCrossError` for content that cannot be sent to another process.
    """

    def __init__(self, max_concurrent_content: int = 200) -> None:
        self.max_concurrent_content = max_concurrent_content

    def hosting(self) -> Hosting:
        context = self.context
        workers = self._workers
        pool = workers.pool
        terms = Terms(
            context.staging,
            context.digest_policy.allowed,
            context.on_error,
            workers.scratch,
            workers.allowed_roots,
            workers.backoff,
            pool.workers,
        )
        return Hosting(
            pool=pool,
            work=download_batch,
            codec=DeclarationCodec(context.staging, pool.workers),
            folder=context.staging,
            terms=msgspec.msgpack.encode(terms),
            largest_batch=min(LARGEST_BATCH, max(1, self.max_concurrent_content // pool.workers)),
        )

    def wants(self, item: DeclarativeContent) -> bool:
        """Say whether workers can download something for the content."""
        wanted = [declared for declared in item.d_artifacts if declared.wants_download]
        workers = self._workers.pool.workers
        return bool(wanted) and all(
            _divisible(remote, workers) for declared in wanted for remote in _remotes(declared)
        )

    async def admit(self, items: Sequence[DeclarativeContent]) -> int:
        """Take the leases of as many contents as the budget has room for, waiting only for the first one's."""
        budget = self.context.budget
        first, *others = items
        first.lease = await budget.acquire(*_needs(first))
        for count, item in enumerate(others, 1):
            item.lease = budget.offer(*_needs(item))
            if item.lease is None:
                return count
        return len(items)

    @property
    def _workers(self) -> DownloadWorkers:
        workers = self.context.workers
        assert workers is not None
        return workers


def _needs(item: DeclarativeContent) -> tuple[int, int]:
    """Return the bytes and artifacts that a content brings in flight."""
    wanted = [declared for declared in item.d_artifacts if declared.wants_download]
    return sum(declared.artifact.size or 0 for declared in wanted), len(wanted)


def _remotes(declared: DeclarativeArtifact) -> list[Remote]:
    found = (declared.remote, *(source.remote for source in declared.alternates))
    return [remote for remote in found if remote is not None]


def _divisible(remote: Remote, workers: int) -> bool:
    """Say whether what the remote allows can be divided among the workers. A rate is kept by one process, and needs no more of them."""
    if remote.rate_limit is not None or remote.bandwidth_limit is not None:
        return False
    return remote.download_concurrency is None or remote.download_concurrency >= workers
