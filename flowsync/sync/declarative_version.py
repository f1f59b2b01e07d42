"""A sync as the Stages API has it: a stream of declared content becomes a new repository version.

The stages run in the order of the document: first stage, artifact look-up, alternate sources,
download, artifact save, content look-up, content save, sources, futures, association, and in a
mirror un-association. No change means no version: `create()` returns `None`, and the number is used
again.

Also here: one run, from the lock on the repository to the record of how it ended. The sync is
described above and carried out below.
"""

import asyncio
import time
from collections import ChainMap
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import uvloop

from flowsync.catalog.versions.new_version import NewVersion
from flowsync.engine.engine import Engine
from flowsync.engine.operations import Operation, observed, tell
from flowsync.engine.turns import Turn
from flowsync.errors import (
    EngineClosedError,
    FlowsyncError,
    PlanOutdatedError,
    SyncTimeoutError,
)
from flowsync.model.events import Observer, SyncEnded, SyncStarted
from flowsync.model.measures import expect_count, expect_measure, expect_share
from flowsync.model.recordable import error_text
from flowsync.model.reports import SyncPlan
from flowsync.model.repository import (
    ErrorPolicy,
    LeftOut,
    Repository,
    RepositoryVersion,
    RunState,
    SyncResult,
)
from flowsync.model.url import Origin
from flowsync.pipeline.pipeline import STALL_TIMEOUT, Pipeline
from flowsync.pipeline.stage import EndStage, Meter, Progress, Stage, StageStatistics
from flowsync.runtime import descriptors
from flowsync.stages.artifact_stages import (
    ArtifactDownloader,
    ArtifactSaver,
    QueryExistingArtifacts,
)
from flowsync.stages.content_stages import (
    ACSArtifactHandler,
    ContentAssociation,
    ContentSaver,
    ContentUnassociation,
    QueryExistingContents,
    RemoteArtifactSaver,
    ResolveContentFutures,
)
from flowsync.stages.context import RunContext
from flowsync.stages.leave_out import LeaveOut
from flowsync.stages.remote.hosted_downloads import HostedDownloads
from flowsync.stages.upstream import UpstreamMemory, UpstreamUnchanged
from flowsync.sync.dry_run import plan_sync
from flowsync.sync.run_context import (
    Recording,
    SyncOptions,
    bind_remotes,
    origins_of,
    recollect,
    remotes_of,
    run_context,
)

# One run of a sync, from the lock on the repository to the record of how it ended.
#
# 1. It waits for its turn among the syncs of its engine (`turns`).
# 2. The repository is held by a database lock from before anything is read until the version is
#    complete or discarded.
# 3. Whatever happens, the run record says how it ended, unless the database itself is gone.
# 4. What upstream looked like is remembered with the completion of the version, and before the lock
#    is free: who waited for it may be skipped.


class SyncRun:
    """One sync of one repository. Used once."""

    def __init__(
        self,
        engine: Engine,
        repository: Repository,
        options: SyncOptions,
        observers: Sequence[Observer],
    ) -> None:
        self.result: SyncResult | None = None
        self.statistics: list[StageStatistics] = []
        self._engine = engine
        self._catalog = engine.catalog
        self._repository = repository
        self._options = options
        self._observers = (*engine.observers, *observers)
        self._progress = Progress()
        self._operation = Operation()
        self._pipeline: Pipeline | None = None
        self._origins: list[Origin] = []
        self._started = time.monotonic()
        self._left_out: list[LeftOut] = []
        self._recording = Recording(self._catalog.runs, self._progress, self._left_out)

    async def run(
        self, stages: Callable[[NewVersion], list[Stage]], first_stage: Stage
    ) -> RepositoryVersion | None:
        """Do the sync; `stages` gives the whole pipeline, which begins with `first_stage`, for the
        version that was opened.
        """
        self._origins = origins_of(first_stage)
        async with self._engine.operations.entered() as self._operation:
            return await self._recorded(stages)

    async def _recorded(
        self, stages: Callable[[NewVersion], list[Stage]]
    ) -> RepositoryVersion | None:
        """Do the sync and record how it ended."""
        try:
            async with self._operation.endable(), self._engine.turns.taken(self._origins) as turn:
                self._started = time.monotonic()
                self._operation.begin(self._options.timeout, self._late)
                version = await self._make_version(stages, turn)
            await self._end("completed", await self._result(version))
        except UpstreamUnchanged:
            await self._end("skipped", await self._result(None, skipped=True))
            return None
        except BaseException as error:
            await self._end(
                "failed" if isinstance(error, Exception) else "canceled", self._failure(error)
            )
            raise
        return version

    async def _make_version(
        self, stages: Callable[[NewVersion], list[Stage]], turn: Turn
    ) -> RepositoryVersion | None:
        name = self._repository.name
        opened = self._catalog.repositories.new_version(self._repository, wait=self._options.wait)
        async with opened as version:
            pipeline_stages = stages(version)
            remotes = bind_remotes(self._engine, pipeline_stages)
            await self._recording.start(version, self._options.terms(remotes))
            tell(self._observers, SyncStarted(repository=name, mirror=self._options.mirror))
            if self._options.plan is not None:
                await self._expect_base(self._options.plan, version)
            upstream = recollect(
                self._engine,
                name,
                version.previous,
                version.last_sync,
                self._options,
                pipeline_stages,
                version.items,
            )
            version.this_sync = partial(self._this_sync, upstream, version.previous)
            async with self._engine.store.staging() as staging:
                with self._engine.budget.account() as account:
                    context = run_context(
                        self._engine,
                        self._options,
                        left_out=self._left_out,
                        staging=staging,
                        account=account,
                        upstream=upstream,
                        turn=turn,
                        keep_groups=version.keep_groups,
                    )
                    await self._run_pipeline(pipeline_stages, context, turn)
            # Stages of one's own need not have told.
            turn.nearly_fetched()
            if self._options.plan is not None:
                self._expect_all()
            if self._left_out:
                version.info["left_out"] = msgspec.to_builtins(self._left_out)
        if version.completed is None:
            self._expect_no_change()
        return version.completed

    def _this_sync(
        self, upstream: UpstreamMemory, previous: int, latest: int
    ) -> dict[str, Any] | None:
        """Return what is to be remembered when the sync leaves the repository at version `latest`,
        which was `previous`.

        Asked in the last moment before that: raise what speaks against it, and let nothing end the
        sync any more.
        """
        if self._pipeline is not None:
            self._pipeline.expect_no_loss()
        self._operation.settle()
        plan, record = self._options.plan, upstream.record(latest)
        fails = plan is not None and plan.changes and latest == previous
        # What was left out is to be tried again, so the next sync must not be skipped.
        if record is None or self._left_out or fails:
            return None
        details: dict[str, Any] = msgspec.to_builtins(record)
        return details

    async def _expect_base(self, plan: SyncPlan, version: NewVersion) -> None:
        base = await self._catalog.repositories.version(self._repository.name, version.previous)
        if plan.repository != base.repository or plan.base_root != base.root:
            raise PlanOutdatedError(
                f"the sync of {plan.repository!r} was planned from version {plan.base}, root "
                f"{plan.base_root[:12]}; "
                f"{base.repository!r} is at version {base.number}, root {base.root[:12]}: the "
                "repository moved on; "
                "nothing was changed, make a new plan"
            )
        version.expected_root = plan.root

    def _expect_all(self) -> None:
        skipped = [one for one in self._left_out if one.action == "skipped"]
        if skipped:
            raise PlanOutdatedError(
                f"{len(skipped)} files of the plan could not be had, the first of them "
                f"{skipped[0].relative_path}: {skipped[0].reason}; "
                "nothing was changed"
            )

    def _expect_no_change(self) -> None:
        plan = self._options.plan
        if plan is not None and plan.changes:
            raise PlanOutdatedError(
                f"{plan.repository!r} was planned to come to root {plan.root[:12]}, but "
                "upstream leads to no change now: upstream moved on; "
                "nothing was changed, make a new plan"
            )

    def _count(self) -> int:
        moved = 0 if self._pipeline is None else self._pipeline.movement()
        return moved + self._progress.count()

    async def _run_pipeline(self, stages: list[Stage], context: RunContext, turn: Turn) -> None:
        names = ChainMap(
            {remote.name: 0 for remote in remotes_of(stages)}, context.known_remote_ids
        )
        pipeline = self._pipeline = Pipeline(
            stages,
            self._options.maxsize,
            context=context,
            progress=self._progress,
            stall_timeout=self._options.stall_timeout,
        )
        watched = observed(self._repository.name, self._progress, self._observers)
        async with watched, self._recording.kept():
            try:
                with turn.life.watched(self._count, pipeline.is_idle, names):
                    await pipeline.run()
            except UpstreamUnchanged:
                self._expect_no_change()
                raise
            finally:
                self.statistics = pipeline.statistics()

    async def _result(
        self, version: RepositoryVersion | None, *, skipped: bool = False
    ) -> SyncResult:
        name = self._repository.name
        latest = version or await self._catalog.repositories.version(name)
        downloads = self._downloads()
        return SyncResult(
            repository=name,
            version=version.number if version else None,
            added=version.added if version else 0,
            removed=version.removed if version else 0,
            present=latest.present,
            downloaded=downloads.done,
            bytes=downloads.size,
            skipped=skipped,
            left_out=tuple(self._left_out),
            seconds=time.monotonic() - self._started,
        )

    def _late(self) -> SyncTimeoutError:
        readings = [
            f"{reading.message} {reading.done}"
            + ("" if reading.total is None else f" of {reading.total}")
            for reading in self._progress.read()
        ]
        reached = ", ".join(readings) or "nothing, upstream has sent nothing yet"
        seconds = self._options.timeout or 0.0
        return SyncTimeoutError(self._repository.name, seconds, reached)

    def _failure(self, error: BaseException) -> SyncResult:
        downloads = self._downloads()
        return SyncResult(
            repository=self._repository.name,
            downloaded=downloads.done,
            bytes=downloads.size,
            left_out=tuple(self._left_out),
            seconds=time.monotonic() - self._started,
            error=error_text(error),
        )

    def _downloads(self) -> Meter:
        return self._progress.meter(
            ArtifactDownloader.progress_code, ArtifactDownloader.progress_message
        )

    async def _end(self, state: RunState, result: SyncResult) -> None:
        self.result = result
        await self._recording.finish(state, result)
        tell(self._observers, SyncEnded(repository=self._repository.name, result=result))


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

    Afterwards, `result` has the figures of the sync and `statistics` those of its stages. Raises
    `SettingsError` for a number that none of these can be.
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
        if timeout is not None:
            expect_measure("a sync's timeout", timeout)
        if stall_timeout is not None:
            expect_measure("a sync's stall_timeout", stall_timeout)
        if max_errors is not None:
            expect_count("a sync's max_errors", max_errors)
        expect_share("a sync's max_removal", max_removal)
        expect_count("a sync's maxsize", maxsize, 1)
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
