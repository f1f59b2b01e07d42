"""What a run gives its stages: the ports, and what the stages of one run share.

Stages take none of this in their constructor; the pipeline binds them before it starts.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from flowsync.acquire.single_flight import SingleFlight
from flowsync.acquire.sources import Cooling
from flowsync.catalog.catalog import Catalog
from flowsync.digest.pool import Hasher
from flowsync.download.fetcher import Backoff
from flowsync.model.artifact import DigestPolicy
from flowsync.model.content import Content, id_of_group
from flowsync.model.fetch import Fetched
from flowsync.model.remote import Fetcher, Remote
from flowsync.model.repository import ErrorPolicy, LeftOut
from flowsync.pipeline.budget import Account
from flowsync.pipeline.stage import Stage
from flowsync.runtime.executor import Executor
from flowsync.stages.admission import check_declared
from flowsync.stages.stored_metadata import metadata
from flowsync.stages.upstream import UpstreamMemory
from flowsync.store.port import BlobStore

KeepGroups = Callable[[Sequence[bytes]], Awaitable[set[bytes]]]
"""Keeps the units of groups in the version to come, by the ids of the groups; returns those groups
of which there are any.
"""


class DownloadWorkers(msgspec.Struct, frozen=True, kw_only=True):
    """The download workers of an engine, and what they need to know of it: a folder for metadata,
    where `file://` URLs may lead, and how long failed requests wait.
    """

    executor: Executor
    scratch: str
    allowed_roots: tuple[str, ...] | None
    backoff: Backoff


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """The ports of one run. `staging` is the run's private folder, on the file system of the store;
    `left_out` is filled by the run. `workers` is `None` when all is done in process.
    `nearly_fetched` is told when the last downloads are under way. `keep_groups` is what `keep`
    calls.
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
    keep_groups: KeepGroups

    async def metadata(
        self, remote: Remote, url: str, *, expected: Mapping[str, str], **request: Any
    ) -> Fetched:
        """Return a body of which upstream's index says the digests, as a file of the run: from the
        store if the bytes are there, otherwise fetched as by `remote.get_downloader(url,
        expected=…, **request)`.

        It can be declared with `Artifact(file=…)`. What comes from the store was verified again,
        and has no headers. Raise what a download raises.
        """
        return await metadata(self, remote, url, expected, request)

    async def keep(
        self, content_type: type[Content], groups: Sequence[Sequence[Any]]
    ) -> list[Sequence[Any]]:
        """Let a mirror keep what the repository has of these groups of a type, as if it were
        declared again; a group is the values of the type's `group_key`.

        Return the groups of which it has nothing: what upstream has of these is to be declared.
        """
        ids = [id_of_group(content_type, group) for group in groups]
        known = await self.keep_groups(ids) if ids else set()
        return [group for group, found in zip(groups, ids, strict=True) if found not in known]

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
