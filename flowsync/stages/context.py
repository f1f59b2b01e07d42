"""What a run gives its stages: the ports, and what the stages of one run share.

Stages take none of this in their constructor; the pipeline binds them before it starts (design,
ruling 2).
"""

from collections.abc import Callable, Mapping

import msgspec

from flowsync.acquire.single_flight import SingleFlight
from flowsync.acquire.sources import Cooling
from flowsync.catalog.catalog import Catalog
from flowsync.digest.pool import Hasher
from flowsync.download.retry import Backoff
from flowsync.model.digest import DigestPolicy
from flowsync.model.remote import Fetcher, Remote
from flowsync.model.repository import ErrorPolicy, LeftOut
from flowsync.pipeline.budget import Account
from flowsync.pipeline.stage import Stage
from flowsync.runtime.worker_pool import WorkerPool
from flowsync.stages.admission import check_declared
from flowsync.stages.upstream import UpstreamMemory
from flowsync.store.port import BlobStore


class DownloadWorkers(msgspec.Struct, frozen=True, kw_only=True):
    """The download workers of an engine, and what they need to know of it: a folder for metadata,
    where `file://` URLs may lead, and how long failed requests wait.
    """

    pool: WorkerPool
    scratch: str
    allowed_roots: tuple[str, ...] | None
    backoff: Backoff


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """The ports of one run. `staging` is the run's private folder, on the file system of the store;
    `left_out` is filled by the run. `workers` is `None` when all is done in process.
    `nearly_fetched` is told when the last downloads are under way.
    """

    catalog: Catalog
    store: BlobStore
    fetcher: Fetcher
    hasher: Hasher
    digest_policy: DigestPolicy
    budget: Account
    single_flight: SingleFlight
    cooling: Cooling
    on_error: ErrorPolicy = "fail"
    max_errors: int | None = None
    left_out: list[LeftOut]
    staging: str
    upstream: UpstreamMemory
    alternate_remotes: dict[str, Remote]
    known_remote_ids: dict[str, int]
    workers: DownloadWorkers | None = None
    nearly_fetched: Callable[[], None]

    async def remote_ids(self, remotes: Mapping[str, Remote]) -> dict[str, int]:
        """Return the catalog's ids of `remotes`, recording those that this run meets for the first
        time.
        """
        new = [remote for name, remote in remotes.items() if name not in self.known_remote_ids]
        if new:
            self.known_remote_ids.update(await self.catalog.remotes.ids(new))
        return self.known_remote_ids


class BoundStage(Stage):
    """The base of stages that use the ports of their run. They take declared content only."""

    accepts = staticmethod(check_declared)

    @property
    def context(self) -> RunContext:
        """The ports of the run. Raise `UnboundStageError` when the pipeline was started without a
        run context.
        """
        # Asked several times an item.
        found: RunContext = self._context or super().context
        return found
