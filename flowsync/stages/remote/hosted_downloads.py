"""Downloads in worker processes: the stage of the pipeline that stands for them.

Workers do what costs the main process most a byte: many small artifacts. What passes by to the
`ArtifactDownloader` behind, which holds up nothing:

1. Content without work, and content that is larger than `LARGEST_CONTENT`, or of unknown size. The
   main process brings large bodies faster, with its hash workers, and each puts its bytes on as it
   comes.
2. Content from a remote with a rate limit, or that allows fewer requests at a time than there are
   workers: each worker counts its share for itself, or learns it.
3. Content whose bytes are being fetched already: it gets its share there. This stage leads the
   flight of what it sends (`single_flight`), so the same bytes are fetched once over all workers
   and all syncs of the engine.
4. Content of the main script's own classes, which workers do not know. The author of a script has
   done nothing wrong; a warning says so.
5. What a worker on another machine cannot reach, where workers do not share this one's files:
   `file://` URLs, and remotes whose certificates are files.
6. What a worker gave up (`flowsync.stages.remote.download_worker`), and after `MOST_GIVEN_UP`
   of those all of that remote.

So what waits for what: a content in a worker waits for the others of its batch, at most
`LARGEST_CONTENT` each and `BATCH_BYTES` together, and for as long as bytes arrive, but no longer
than `BATCH_SECONDS`. The batches behind it wait for a worker, the content that passes by for none.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from flowsync.acquire.single_flight import Flight, Key, key
from flowsync.declare import DeclarativeArtifact, DeclarativeContent
from flowsync.download.http import connections
from flowsync.model.artifact import Artifact, StagedArtifact
from flowsync.model.remote import Remote
from flowsync.model.url import scheme
from flowsync.pipeline.remote.segment import LARGEST_BATCH, HostedSegment, Hosting
from flowsync.runtime.tasks import in_thread
from flowsync.stages.context import BoundStage, DownloadWorkers
from flowsync.stages.remote.codecs import DeclarationCodec, keep_received
from flowsync.stages.remote.declarations import is_at_home
from flowsync.stages.remote.download_worker import Terms, download_batch

LARGEST_CONTENT: Final = 1 << 20
"""Bytes of a content that a worker is given at most."""

BATCH_BYTES: Final = 4 << 20
"""Bytes of a batch at most."""

MOST_GIVEN_UP: Final = 8
"""Contents of a remote that workers give up in one run, before the rest is spared that."""

_log = logging.getLogger(__name__)


class HostedDownloads(HostedSegment, BoundStage):
    """Has the work of the `ArtifactDownloader` behind it done by worker processes, as far as they
    can do it.

    The `ArtifactDownloader` does what is left, and leaves what is done. Leases are taken here,
    before a content is sent.

    Raises what an `ArtifactDownloader` raises, and `CannotCrossError` for content that cannot be
    sent to another process.
    """

    hands_on = True

    def __init__(self, max_concurrent_content: int = 200) -> None:
        self.max_concurrent_content = max_concurrent_content
        self._given_up: Counter[str] = Counter()
        self._told: set[type] = set()

    def hosting(self) -> Hosting:
        context = self.context
        workers = self._workers
        count = workers.executor.workers
        shares_files = workers.executor.shares_files
        terms = Terms(
            context.staging if shares_files else None,
            context.digest_policy.allowed,
            context.on_error,
            workers.scratch if shares_files else None,
            workers.allowed_roots if shares_files else (),
            workers.backoff,
            count,
        )
        return Hosting(
            executor=workers.executor,
            work=download_batch,
            codec=DeclarationCodec(context.staging, count),
            terms=msgspec.msgpack.encode(terms),
            largest_batch=min(LARGEST_BATCH, max(1, self.max_concurrent_content // count)),
        )

    def wants(self, item: DeclarativeContent) -> bool:
        """Say whether workers are to download something for the content."""
        wanted = _wanted(item)
        if not wanted or item.failure is not None or not _is_small(wanted):
            return False
        if not self._workers.executor.shares_files and any(map(_needs_files, wanted)):
            return False
        remotes = [remote for declared in wanted for remote in _remotes(declared)]
        return all(map(self._suits_workers, remotes)) and not self._is_at_home(item, remotes)

    async def admit(self, items: Sequence[DeclarativeContent]) -> int:
        """Take the leases of as many contents as a batch and the budget have room for, waiting only
        for the first one's.
        """
        budget = self.context.budget
        first, *others = items
        size, artifacts = _needs(first)
        first.lease = await budget.acquire(size, artifacts)
        sent = size
        for count, item in enumerate(others, 1):
            size, artifacts = _needs(item)
            sent += size
            item.lease = budget.offer(size, artifacts) if sent <= BATCH_BYTES else None
            if item.lease is None:
                return count
        return len(items)

    @asynccontextmanager
    async def away(
        self, items: Sequence[DeclarativeContent]
    ) -> AsyncIterator[Sequence[DeclarativeContent]]:
        """Lead the flights of what the items want; let those pass by whose bytes are in the air, or
        here.
        """
        led: list[tuple[DeclarativeArtifact, Flight]] = []
        try:
            going = [item for item in items if self._lead(item, led)]
            sent = [(each, each.artifact) for item in going for each in _wanted(item)]
            yield going
            if not self._workers.executor.shares_files:
                await self._keep_received(sent)
            for declared, flight in led:
                if isinstance(declared.artifact, StagedArtifact):
                    await flight.land(declared.artifact)
            self._count_given_up(going)
        finally:
            for _, flight in led:
                flight.end()

    async def _keep_received(self, sent: Sequence[tuple[DeclarativeArtifact, Artifact]]) -> None:
        """Keep the bodies that came, and leave to the pipeline what did not come as it was sent."""
        came = [
            (declared, before, declared.artifact)
            for declared, before in sent
            if isinstance(declared.artifact, StagedArtifact)
        ]
        artifacts = [staged for _, _, staged in came]
        kept = await in_thread(keep_received, artifacts, self.context.staging)
        for (declared, before, _), staged in zip(came, kept, strict=True):
            if staged is None:
                _log.warning(
                    "%s came from a worker as other bytes than it sent, and is fetched anew",
                    declared.relative_path,
                )
            declared.artifact = staged or before

    def _lead(
        self, item: DeclarativeContent, led: list[tuple[DeclarativeArtifact, Flight]]
    ) -> bool:
        """Take the lead for all that the content wants, or for nothing; say whether that worked."""
        allowed = self.context.digest_policy.allowed
        single_flight = self.context.single_flight
        own: dict[Key, tuple[DeclarativeArtifact, Flight]] = {}
        for declared in _wanted(item):
            wanted = key(declared.artifact, allowed)
            if wanted is None or wanted in own:
                continue
            flight = single_flight.take_lead(wanted)
            if flight is None:
                for _, other in own.values():
                    other.end()
                return False
            own[wanted] = declared, flight
        led.extend(own.values())
        return True

    def _count_given_up(self, items: Sequence[DeclarativeContent]) -> None:
        for item in items:
            if item.failure is None:
                for declared in _wanted(item):
                    self._given_up.update(remote.name for remote in _remotes(declared))

    def _suits_workers(self, remote: Remote) -> bool:
        """Say whether what the remote allows can be divided among the workers, and whether they get
        on with it.
        """
        return (
            _is_divisible(remote, self._workers.executor.workers)
            and self._given_up[remote.name] < MOST_GIVEN_UP
        )

    def _is_at_home(self, item: DeclarativeContent, remotes: Sequence[Remote]) -> bool:
        kinds = {type(item.content), *map(type, remotes)}
        for kind in kinds - self._told:
            if is_at_home(kind):
                self._told.add(kind)
                _log.warning(
                    "%s is defined in the main script, which workers do not run: its "
                    "downloads stay in this process",
                    kind.__qualname__,
                )
        return not kinds.isdisjoint(self._told)

    @property
    def _workers(self) -> DownloadWorkers:
        workers = self.context.workers
        assert workers is not None
        return workers


def _wanted(item: DeclarativeContent) -> list[DeclarativeArtifact]:
    return [declared for declared in item.d_artifacts if declared.wants_download]


def _is_small(wanted: Sequence[DeclarativeArtifact]) -> bool:
    size = 0
    for declared in wanted:
        if declared.artifact.size is None:
            return False
        size += declared.artifact.size
    return size <= LARGEST_CONTENT


def _needs(item: DeclarativeContent) -> tuple[int, int]:
    """Return the bytes and artifacts that a content brings in flight."""
    wanted = _wanted(item)
    return sum(declared.artifact.size or 0 for declared in wanted), len(wanted)


def _remotes(declared: DeclarativeArtifact) -> list[Remote]:
    found = (declared.remote, *(source.remote for source in declared.alternates))
    return [remote for remote in found if remote is not None]


def _needs_files(declared: DeclarativeArtifact) -> bool:
    """Say whether files of this machine are needed to fetch the artifact."""
    if any(connections.files(remote) for remote in _remotes(declared)):
        return True
    urls = [*declared.urls, *(url for source in declared.alternates for url in source.urls)]
    return any(scheme(url) == "file" for url in urls)


def _is_divisible(remote: Remote, workers: int) -> bool:
    # A rate is kept by one process, and needs no more of them.
    if remote.rate_limit is not None or remote.bandwidth_limit is not None:
        return False
    return remote.download_concurrency is None or remote.download_concurrency >= workers
