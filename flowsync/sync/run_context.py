"""What a run, or the plan of one, needs around its pipeline: the ports of the engine, the remotes
of its stages, what the last sync saw.

How a sync is to be done, and the records of that.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from flowsync.engine.engine import Engine
from flowsync.engine.turns import Turn
from flowsync.model.remote import Remote
from flowsync.model.reports import RunSource, RunTerms, SyncPlan
from flowsync.model.repository import ErrorPolicy, LeftOut
from flowsync.model.url import Origin, origin, redact
from flowsync.pipeline.budget import Account
from flowsync.pipeline.stage import Stage
from flowsync.stages.context import KeepGroups, RunContext
from flowsync.stages.upstream import Items, UpstreamMemory, UpstreamRecord, options_digest


class SyncOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a sync is to be done; the fields are those of `DeclarativeVersion`."""

    mirror: bool
    wait: bool
    force: bool
    on_error: ErrorPolicy
    max_errors: int | None
    max_removal: float
    maxsize: int
    stall_timeout: float | None
    timeout: float | None = None
    plan: SyncPlan | None = None

    def terms(self, remotes: Sequence[Remote]) -> RunTerms:
        """Return what is recorded of a run with these options that is made from `remotes`."""
        return RunTerms(
            mirror=self.mirror,
            force=self.force,
            on_error=self.on_error,
            sources=tuple(
                RunSource(remote=remote.name, url=redact(remote.url), policy=remote.policy)
                for remote in remotes
            ),
            planned=None if self.plan is None else self.plan.root,
        )


def bind_remotes(engine: Engine, stages: Sequence[Stage]) -> list[Remote]:
    """Bind the remotes that stages keep in their attributes to the engine, and return them, each
    once.
    """
    return [engine.bind(remote) for remote in remotes_of(stages)]


def remotes_of(stages: Sequence[Stage]) -> list[Remote]:
    """Return the remotes that stages keep in their attributes, each once."""
    found = {
        id(value): value
        for stage in stages
        for value in vars(stage).values()
        if isinstance(value, Remote)
    }
    return list(found.values())


def origins_of(stage: Stage) -> list[Origin]:
    """Return the upstreams of the remotes that a stage keeps in its attributes. Folders are none,
    and a URL without host is told when it is asked.
    """
    found = []
    for remote in remotes_of([stage]):
        with suppress(ValueError):
            found.append(origin(remote.url))
    return [each for each in found if each[0] != "file"]


def recollect(
    engine: Engine,
    repository: str,
    version: int,
    last_sync: Any,
    options: SyncOptions,
    stages: Sequence[Stage],
    items: Items,
    *,
    is_plan: bool = False,
) -> UpstreamMemory:
    """Return what is remembered of upstream for a run of `stages` that starts from `version`, the
    latest of the repository. A plan remembers nothing.

    `last_sync` may have led to that version; `items` are what syncs saw one by one.
    """
    repositories = engine.catalog.repositories
    return UpstreamMemory(
        None if last_sync is None or options.force else _record(last_sync),
        mirror=options.mirror,
        version=version,
        count_missing=lambda: repositories.missing_artifacts(repository, version),
        stages=[_class_name(stage) for stage in stages if not _is_ours(stage)],
        kind_options=options_digest([stage.kind_options for stage in stages]),
        items=items,
        is_plan=is_plan,
    )


def run_context(
    engine: Engine,
    options: SyncOptions,
    *,
    left_out: list[LeftOut],
    staging: str,
    account: Account,
    upstream: UpstreamMemory,
    turn: Turn,
    keep_groups: KeepGroups,
) -> RunContext:
    """Return the ports of one run."""
    return RunContext(
        catalog=engine.catalog,
        store=engine.store,
        fetcher=engine.fetcher,
        hasher=engine.hasher,
        digest_policy=engine.digest_policy,
        budget=account,
        single_flight=engine.single_flight,
        cooling=engine.cooling,
        on_error=options.on_error,
        max_errors=options.max_errors,
        left_out=left_out,
        staging=staging,
        upstream=upstream,
        alternate_remotes=engine.alternate_remotes,
        known_remote_ids={},
        workers=engine.workers,
        nearly_fetched=turn.nearly_fetched,
        keep_groups=keep_groups,
    )


def _class_name(stage: Stage) -> str:
    return f"{type(stage).__module__}:{type(stage).__qualname__}"


def _is_ours(stage: Stage) -> bool:
    """Say whether it is a stage of every sync, which the options tell all of."""
    return type(stage).__module__.startswith(("flowsync.stages.", "flowsync.pipeline."))


def _record(details: Any) -> UpstreamRecord | None:
    """Return what the last sync saw; nothing when another flowsync wrote it down in another form,
    which costs one sync that is not skipped.
    """
    try:
        return msgspec.convert(details, UpstreamRecord)
    except msgspec.ValidationError:
        return None
