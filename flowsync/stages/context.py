"""What a run gives its stages: the ports, and what the stages of one run share.

Stages take none of this in their constructor; the pipeline binds them before it starts (design, ruling 2).
"""

from collections.abc import Mapping
from typing import cast

import msgspec

from flowsync.catalog.catalog import Catalog
from flowsync.digest.pool import Hasher
from flowsync.model.digest import DigestPolicy
from flowsync.model.remote import Remote
from flowsync.model.repository import ErrorPolicy, LeftOut
from flowsync.model.transfer import Fetcher
from flowsync.pipeline.budget import Account
from flowsync.pipeline.stage import Stage
from flowsync.stages.single_flight import SingleFlight
from flowsync.stages.upstream import UpstreamMemory
from flowsync.store.blobs import BlobStore


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """The ports of one run. `staging` is the run's private folder, on the file system of the store; `left_out` is filled by the run."""

    catalog: Catalog
    store: BlobStore
    fetcher: Fetcher
    hasher: Hasher
    digest_policy: DigestPolicy
    budget: Account
    single_flight: SingleFlight
    on_error: ErrorPolicy = "fail"
    max_errors: int | None = None
    left_out: list[LeftOut]
    staging: str
    upstream: UpstreamMemory
    alternate_remotes: dict[str, Remote]
    known_remote_ids: dict[str, int]

    async def remote_ids(self, remotes: Mapping[str, Remote]) -> dict[str, int]:
        """Return the catalog's ids of `remotes`, recording those that this run meets for the first time."""
        new = [remote for name, remote in remotes.items() if name not in self.known_remote_ids]
        if new:
            self.known_remote_ids.update(await self.catalog.remotes.ids(new))
        return self.known_remote_ids


class BoundStage(Stage):
    """The base of stages that use the ports of their run."""

    @property
    def context(self) -> RunContext:
        """The ports of the run. Raise `UnboundStageError` when the pipeline was started without a run context."""
        return cast(RunContext, super().context)
