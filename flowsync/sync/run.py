"""One run of a sync, from the lock on the repository to the record of how it ended.

1. The repository is held by a database lock from before anything is read until the version is complete or discarded.
2. Whatever happens, the run record says how it ended, unless the database itself is gone.
3. What upstream looked like is remembered only after the version is complete.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from flowsync.catalog.new_version import NewVersion
from flowsync.model.events import Observer, SyncEnded, SyncStarted
from flowsync.model.remote import Remote
from flowsync.model.repository import (
    ErrorPolicy,
    LeftOut,
    Repository,
    RepositoryVersion,
    RunState,
    SyncResult,
)
from flowsync.model.run import RunSource, RunTerms
from flowsync.model.url import redact
from flowsync.pipeline.budget import Account
from flowsync.pipeline.pipeline import Pipeline, StageStatistics
from flowsync.pipeline.progress import Meter, Progress
from flowsync.pipeline.stage import Stage
from flowsync.stages.artifact_downloader import ArtifactDownloader
from flowsync.stages.context import RunContext
from flowsync.stages.upstream import UpstreamMemory, UpstreamRecord, UpstreamUnchanged
from flowsync.sync.engine import Engine
from flowsync.sync.observe import observed, tell
from flowsync.sync.recording import Recording


class SyncOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a sync is to be done; the fields are those of `DeclarativeVersion`."""

    mirror: bool
    wait: bool
    force: bool
    on_error: ErrorPolicy
    max_errors: int | None
    maxsize: int
    stall_timeout: float | None


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
        self._started = time.monotonic()
        self._left_out: list[LeftOut] = []
        self._recording = Recording(self._catalog.runs, self._progress, self._left_out)

    async def run(self, stages: Callable[[NewVersion], list[Stage]]) -> RepositoryVersion | None:
        """Do the sync; `stages` gives the whole pipeline for the version that was opened."""
        version: RepositoryVersion | None = None
        try:
            version = await self._make_version(stages)
            await self._end("completed", await self._result(version))
        except UpstreamUnchanged:
            await self._end("skipped", await self._result(None, skipped=True))
        except BaseException as error:
            await self._end(
                "failed" if isinstance(error, Exception) else "canceled", self._failure(error)
            )
            raise
        return version

    async def _make_version(
        self, stages: Callable[[NewVersion], list[Stage]]
    ) -> RepositoryVersion | None:
        name = self._repository.name
        repositories = self._catalog.repositories
        async with repositories.new_version(self._repository, wait=self._options.wait) as version:
            pipeline_stages = stages(version)
            remotes = _remotes(pipeline_stages)
            await self._recording.start(version, self._terms(remotes))
            tell(self._observers, SyncStarted(repository=name, mirror=self._options.mirror))
            upstream = await self._recollect(version)
            async with self._engine.store.staging() as staging:
                with self._engine.budget.account() as account:
                    context = self._context(staging, account, upstream)
                    for remote in remotes:
                        self._engine.bind(remote)
                    await self._run_pipeline(pipeline_stages, context)
            if self._left_out:
                version.info["left_out"] = msgspec.to_builtins(self._left_out)
        latest = version.completed.number if version.completed else version.previous
        record = upstream.record(latest)
        # What was left out is to be tried again, so the next sync must not be skipped.
        if record is not None and not self._left_out:
            await repositories.remember_sync(name, msgspec.to_builtins(record))
        return version.completed

    async def _recollect(self, version: NewVersion) -> UpstreamMemory:
        name = self._repository.name
        repositories = self._catalog.repositories
        details = None if self._options.force else await repositories.last_sync(name)
        return UpstreamMemory(
            None if details is None else _record(details),
            mirror=self._options.mirror,
            version=version.previous,
            count_missing=lambda: repositories.missing_artifacts(name, version.previous),
        )

    def _terms(self, remotes: Sequence[Remote]) -> RunTerms:
        options = self._options
        return RunTerms(
            mirror=options.mirror,
            force=options.force,
            on_error=options.on_error,
            sources=tuple(
                RunSource(remote=remote.name, url=redact(remote.url), policy=remote.policy)
                for remote in remotes
            ),
        )

    def _context(self, staging: str, account: Account, upstream: UpstreamMemory) -> RunContext:
        engine = self._engine
        return RunContext(
            catalog=engine.catalog,
            store=engine.store,
            fetcher=engine.fetcher,
            hasher=engine.hasher,
            digest_policy=engine.digest_policy,
            budget=account,
            single_flight=engine.single_flight,
            on_error=self._options.on_error,
            max_errors=self._options.max_errors,
            left_out=self._left_out,
            staging=staging,
            upstream=upstream,
            alternate_remotes=engine.alternate_remotes,
            known_remote_ids={},
            workers=engine.workers,
        )

    async def _run_pipeline(self, stages: list[Stage], context: RunContext) -> None:
        pipeline = Pipeline(
            stages,
            self._options.maxsize,
            context=context,
            progress=self._progress,
            stall_timeout=self._options.stall_timeout,
        )
        watched = observed(self._repository.name, self._progress, self._observers)
        async with watched, self._recording.kept():
            try:
                await pipeline.run()
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


def _remotes(stages: Sequence[Stage]) -> list[Remote]:
    """Return the remotes that stages keep in their attributes, each once."""
    found = {
        id(value): value
        for stage in stages
        for value in vars(stage).values()
        if isinstance(value, Remote)
    }
    return list(found.values())


def _record(details: Any) -> UpstreamRecord | None:
    """Return what the last sync saw; nothing when another flowsync wrote it down in another form, which costs one sync that is not skipped."""
    try:
        return msgspec.convert(details, UpstreamRecord)
    except msgspec.ValidationError:
        return None
