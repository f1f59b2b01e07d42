"""A sync as the Stages API has it: a stream of declared content becomes a new repository version.

The stages run in the order of the document: first stage, artifact look-up, alternate sources,
download, artifact save, content look-up, content save, sources, futures, association, and in a
mirror un-association. No change means no version: `create()` returns `None`, and the number is used
again.
"""

import asyncio
import math
from collections.abc import Sequence

import uvloop

from flowsync.catalog.versions.new_version import NewVersion
from flowsync.engine.engine import Engine
from flowsync.errors import EngineClosedError, FlowsyncError, SettingsError
from flowsync.model.events import Observer
from flowsync.model.reports import SyncPlan
from flowsync.model.repository import ErrorPolicy, Repository, RepositoryVersion, SyncResult
from flowsync.pipeline.pipeline import STALL_TIMEOUT
from flowsync.pipeline.progress import StageStatistics
from flowsync.pipeline.stage import EndStage, Stage
from flowsync.runtime import descriptors
from flowsync.stages.artifact_downloader import ArtifactDownloader
from flowsync.stages.artifact_saver import ArtifactSaver
from flowsync.stages.content_association import ContentAssociation, ContentUnassociation
from flowsync.stages.content_saver import ContentSaver, ResolveContentFutures
from flowsync.stages.leave_out import LeaveOut
from flowsync.stages.query_existing import QueryExistingArtifacts, QueryExistingContents
from flowsync.stages.remote.hosted_downloads import HostedDownloads
from flowsync.stages.remote_artifact_saver import ACSArtifactHandler, RemoteArtifactSaver
from flowsync.sync.dry_run import plan_sync
from flowsync.sync.run import SyncRun
from flowsync.sync.run_context import SyncOptions

QUEUE_SIZE = 1000
"""Items between two stages of a sync: two database batches. Beyond 128, a hop costs no less
(`bench/pipeline/bench_hops.py`).
"""

MAX_ERRORS = 1000
"""Artifacts that a sync leaves out before it gives up: with more, upstream itself is broken, and
the list is of no use to anyone.
"""

MAX_REMOVAL = 0.5
"""Share of the units that a mirror may lose in one sync, where it has more than 100. All of them go
only with a share of 1.
"""


class DeclarativeVersion:
    """One sync of `repository` from the stream of declared content that `first_stage` puts.

    With `mirror`, content that the stream does not contain is removed; without it, content is only
    added. With `acs`, alternate content sources are asked for the bytes first.

    `engine` is an open engine to share, or a closed one for `create()` to open; without it,
    `create()` opens `Engine.from_environment()`. With `wait=False`, a repository that another sync
    holds is a `RepositoryBusyError` instead of a wait. `force` runs a sync that could be skipped
    because upstream is unchanged.

    `on_error` says what a download that failed for good means: "fail" the sync, "skip" the unit, or
    "defer" it, recorded without its bytes. What was left out is listed in `result` and in the
    version's `info`; more than `max_errors` of it fail the sync after all (`TooManyLeftOutError`).
    A mirror that would lose more than the share `max_removal` of more than 100 units fails too
    (`MassRemovalError`), and so does one that would lose all of its units, however few, unless that
    share is 1.

    `timeout` is how many seconds the sync may take from its turn on; then it fails with a
    `SyncTimeoutError`, and nothing of it is visible.

    `observers` get this sync's events, besides the engine's own. `maxsize` is the number of items
    between two stages, `stall_timeout` as in `create_pipeline`.

    `plan` is what an `aplan()` with the same arguments gave: the sync comes to exactly that, or to
    a `PlanOutdatedError` before anything is visible.

    Afterwards, `result` has the figures of the sync and `statistics` those of its stages.
    """

    def __init__(
        self,
        first_stage: Stage,
        repository: Repository,
        mirror: bool = False,
        acs: bool = False,
        *,
        engine: Engine | None = None,
        wait: bool = True,
        force: bool = False,
        on_error: ErrorPolicy = "fail",
        max_errors: int | None = MAX_ERRORS,
        max_removal: float = MAX_REMOVAL,
        observers: Sequence[Observer] = (),
        maxsize: int = QUEUE_SIZE,
        stall_timeout: float | None = STALL_TIMEOUT,
        timeout: float | None = None,
        plan: SyncPlan | None = None,
    ) -> None:
        if timeout is not None and not 0 < timeout < math.inf:
            raise SettingsError(
                f"a sync's timeout is a positive number of seconds or None, found {timeout}"
            )
        self.first_stage = first_stage
        self.repository = repository
        self.mirror = mirror
        self.acs = acs
        self.result: SyncResult | None = None
        self.statistics: list[StageStatistics] = []
        self._engine = engine
        self._options = SyncOptions(
            mirror=mirror,
            wait=wait,
            force=force,
            on_error=on_error,
            max_errors=max_errors,
            max_removal=max_removal,
            maxsize=maxsize,
            stall_timeout=stall_timeout,
            timeout=timeout,
            plan=plan,
        )
        self._observers = tuple(observers)

    def pipeline_stages(self, new_version: NewVersion) -> list[Stage]:
        """Return the stages that lead up to the association. Override it to replace, add or leave
        out stages.
        """
        return [
            self.first_stage,
            QueryExistingArtifacts(),
            *([ACSArtifactHandler()] if self.acs else []),
            ArtifactDownloader(),
            *self._leave_out(new_version),
            ArtifactSaver(),
            *self._leave_out(new_version),
            QueryExistingContents(),
            ContentSaver(),
            RemoteArtifactSaver(),
            ResolveContentFutures(),
        ]

    def _leave_out(self, new_version: NewVersion) -> list[Stage]:
        """Return what stands behind a stage that some content may fail in."""
        return [] if self._options.on_error == "fail" else [LeaveOut(new_version)]

    def create(self) -> RepositoryVersion | None:
        """Do the whole sync in a loop of its own and return the new version, or `None` when it
        would not differ from the latest.

        Raises `FlowsyncError` inside a running loop, where `acreate()` is to be awaited,
        `SyncTimeoutError`, and whatever the sync fails with.
        """
        descriptors.open_missing()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return uvloop.run(self._create_with_engine())
        raise FlowsyncError(
            "create() blocks and cannot be called in a running event loop; await acreate() there"
        )

    async def acreate(self) -> RepositoryVersion | None:
        """Do the whole sync in the running loop, with the open engine that was given, and return as
        `create()` does.

        Raises `EngineClosedError` when the engine is closed before the sync is done,
        `SyncTimeoutError`, and whatever the sync fails with.
        """
        engine = self._open_engine("acreate()")
        run = SyncRun(engine, self.repository, self._options, self._observers)
        try:
            version = await run.run(self._all_stages, self.first_stage)
        finally:
            self.result, self.statistics = run.result, run.statistics
        return version

    async def aplan(self) -> SyncPlan:
        """Say what `acreate()` would do now, with the open engine that was given, and change
        nothing; see `sync/planning.py`.

        Raises what the first stage fails with, and `FlowsyncError` when `pipeline_stages` is
        overridden: what stages of one's own would do, only they know.
        """
        engine = self._open_engine("aplan()")
        if type(self).pipeline_stages is not DeclarativeVersion.pipeline_stages:
            raise FlowsyncError(
                f"a sync with stages of its own cannot be planned: {type(self).__name__} "
                "overrides pipeline_stages"
            )
        return await plan_sync(
            engine, self.first_stage, self.repository, self._options, self._observers
        )

    def _open_engine(self, caller: str) -> Engine:
        if self._engine is None or not self._engine.is_open:
            closed = self._engine is not None and self._engine.was_closed
            kind = EngineClosedError if closed else FlowsyncError
            raise kind(
                f"{caller} needs an open engine: "
                "DeclarativeVersion(…, engine=engine) inside `async with Engine(…) as engine`"
            )
        return self._engine

    async def _create_with_engine(self) -> RepositoryVersion | None:
        self._engine = self._engine or Engine.from_environment()
        async with self._engine:
            return await self.acreate()

    def _all_stages(self, new_version: NewVersion) -> list[Stage]:
        return [
            *self._hosted(self.pipeline_stages(new_version)),
            ContentAssociation(new_version, self.mirror),
            *(
                [ContentUnassociation(new_version, self._options.max_removal)]
                if self.mirror
                else []
            ),
            EndStage(),
        ]

    def _hosted(self, stages: list[Stage]) -> list[Stage]:
        """Return the stages with workers in front of the downloader, where the engine has any.

        A downloader of another class is not hosted: what it does, only it knows.
        """
        assert self._engine is not None
        if self._engine.workers is None:
            return stages
        found: list[Stage] = []
        for stage in stages:
            if type(stage) is ArtifactDownloader:
                found.append(HostedDownloads(stage.max_concurrent_content))
            found.append(stage)
        return found
