"""The plan of a sync: its first stage and its look-ups, and instead of the rest, what they would
lead to.

1. Nothing is changed that others can see: no repository, version, run, unit or source is recorded.
   Content that the first stage waits for, to read it, is downloaded into a folder that goes with
   the plan; no other content is. What the look-ups find is spared by clean-up for another while, as
   in a sync.
2. The repository is not locked: a sync may go on meanwhile. What is told is true of one state of
   it, which the plan names.
3. It is not foretold whether downloads will succeed, or whether all units can coexist in one
   version; either fails the sync, and no version is made.
"""

from collections.abc import Sequence

from flowsync.catalog.versions.planned_changes import Base, Difference, Planning, open_planning
from flowsync.engine.engine import Engine
from flowsync.engine.operations import observed
from flowsync.engine.turns import Turn
from flowsync.errors import MassRemovalError
from flowsync.model.events import Observer
from flowsync.model.remote import Remote
from flowsync.model.reports import SyncPlan
from flowsync.model.repository import Repository
from flowsync.pipeline.pipeline import Pipeline
from flowsync.pipeline.stage import EndStage, Progress, Stage
from flowsync.stages.artifact_stages import QueryExistingArtifacts
from flowsync.stages.content_stages import is_mass_removal
from flowsync.stages.plan_content import PlanContent
from flowsync.stages.upstream import UpstreamUnchanged
from flowsync.sync.run_context import (
    SyncOptions,
    bind_remotes,
    origins_of,
    recollect,
    remotes_of,
    run_context,
)


async def plan_sync(
    engine: Engine,
    first_stage: Stage,
    repository: Repository,
    options: SyncOptions,
    observers: Sequence[Observer],
) -> SyncPlan:
    """Return what a sync would do now."""
    name = repository.name
    async with (
        engine.operations.entered() as operation,
        operation.endable(),
        engine.turns.taken(origins_of(first_stage)) as turn,
    ):
        operation.began = True
        return await _plan_in_turn(engine, first_stage, name, options, observers, turn)


async def _plan_in_turn(
    engine: Engine,
    first_stage: Stage,
    name: str,
    options: SyncOptions,
    observers: Sequence[Observer],
    turn: Turn,
) -> SyncPlan:
    async with open_planning(engine.catalog.database, name) as planning:
        stages = [first_stage, QueryExistingArtifacts(), PlanContent(planning), EndStage()]
        remotes = bind_remotes(engine, stages)
        base = await planning.base()
        try:
            await _collect(engine, stages, base, name, options, observers, turn, planning=planning)
        except UpstreamUnchanged:
            return _no_change(name, base, options, remotes)
        difference = await planning.difference(mirror=options.mirror)
    return _plan(name, difference, options, remotes)


async def _collect(
    engine: Engine,
    stages: list[Stage],
    base: Base,
    name: str,
    options: SyncOptions,
    observers: Sequence[Observer],
    turn: Turn,
    *,
    planning: Planning,
) -> None:
    progress = Progress()
    upstream = recollect(
        engine,
        name,
        base.number,
        base.last_sync,
        options,
        stages,
        planning.items,
        is_plan=True,
    )
    async with engine.store.staging() as staging:
        with engine.budget.account() as account:
            context = run_context(
                engine,
                options,
                left_out=[],
                staging=staging,
                account=account,
                upstream=upstream,
                turn=turn,
                keep_groups=planning.keep_groups,
            )
            pipeline = Pipeline(
                stages,
                options.maxsize,
                context=context,
                progress=progress,
                stall_timeout=options.stall_timeout,
                resolves_on_request=True,
            )
            async with observed(name, progress, (*engine.observers, *observers)):
                names = [remote.name for remote in remotes_of(stages)]
                with turn.life.watched(pipeline.movement, pipeline.is_idle, names):
                    await pipeline.run()


def _no_change(name: str, base: Base, options: SyncOptions, remotes: Sequence[Remote]) -> SyncPlan:
    return SyncPlan(
        repository=name,
        base=base.number,
        base_root=base.root.hex(),
        root=base.root.hex(),
        present=base.present,
        unchanged=True,
        terms=options.terms(remotes),
    )


def _plan(
    name: str, difference: Difference, options: SyncOptions, remotes: Sequence[Remote]
) -> SyncPlan:
    base = difference.base
    return SyncPlan(
        repository=name,
        base=base.number,
        base_root=base.root.hex(),
        root=difference.root.hex(),
        added=difference.added,
        added_bytes=difference.added_bytes,
        added_bare=difference.added_bare,
        removed=difference.removed,
        removed_bytes=difference.removed_bytes,
        removed_bare=difference.removed_bare,
        present=base.present + difference.added - difference.removed,
        downloads=difference.downloads,
        download_bytes=difference.download_bytes,
        downloads_unsized=difference.downloads_unsized,
        refusal=_refusal(name, difference, options),
        terms=options.terms(remotes),
    )


def _refusal(name: str, difference: Difference, options: SyncOptions) -> str | None:
    present, limit = difference.base.present, options.max_removal
    if is_mass_removal(present, difference.unseen, limit, added=difference.added):
        return str(MassRemovalError(name, difference.unseen, present, limit))
    return None
