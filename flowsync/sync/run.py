"""One run of a sync, from the lock on the repository to the record of how it ended.

1. It waits for its turn among the syncs of its engine (`turns`).
2. The repository is held by a database lock from before anything is read until the version is
   complete or discarded.
3. Whatever happens, the run record says how it ended, unless the database itself is gone.
4. What upstream looked like is remembered with the completion of the version, and before the lock
   is free: who waited for it may be skipped.
"""

import time
from collections import ChainMap
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from flowsync.catalog.versions.new_version import NewVersion
from flowsync.engine.binding import observed, tell
from flowsync.engine.engine import Engine
from flowsync.engine.operations import Operation
from flowsync.engine.turns import Turn
from flowsync.errors import PlanOutdatedError, SyncTimeoutError
from flowsync.model.events import Observer, SyncEnded, SyncStarted
from flowsync.model.reports import SyncPlan
from flowsync.model.repository import LeftOut, Repository, RepositoryVersion, RunState, SyncResult
from flowsync.model.url import Origin
from flowsync.pipeline.pipeline import Pipeline
from flowsync.pipeline.progress import Meter, Progress, StageStatistics
from flowsync.pipeline.stage import Stage
from flowsync.stages.artifact_downloader import ArtifactDownloader
from flowsync.stages.context import RunContext
from flowsync.stages.upstream import UpstreamMemory, UpstreamUnchanged
from flowsync.sync.recording import Recording
from flowsync.sync.run_context import (
    SyncOptions,
    bind_remotes,
    origins_of,
    recollect,
    remotes_of,
    run_context,
)


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
            error=str(error) or type(error).__name__,
        )

    def _downloads(self) -> Meter:
        return self._progress.meter(
            ArtifactDownloader.progress_code, ArtifactDownloader.progress_message
        )

    async def _end(self, state: RunState, result: SyncResult) -> None:
        self.result = result
        await self._recording.finish(state, result)
        tell(self._observers, SyncEnded(repository=self._repository.name, result=result))
