"""What a run, or the plan of one, needs around its pipeline: the ports of the engine, the remotes
of its stages, what the last sync saw.

Also here: how a sync is to be done, and the record that is kept of it.
"""

import asyncio
import logging
import os
import pwd
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any, Final

import msgspec

from flowsync.catalog.records.run_records import RunKey, Runs
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.engine.engine import Engine
from flowsync.engine.turns import Turn
from flowsync.errors import CatalogError
from flowsync.model.remote import Remote
from flowsync.model.reports import RunSource, RunTerms, SyncPlan
from flowsync.model.repository import ErrorPolicy, LeftOut, RunState, SyncResult
from flowsync.model.url import Origin, origin, redact
from flowsync.pipeline.budget import Account
from flowsync.pipeline.stage import Progress, Stage
from flowsync.stages.context import KeepGroups, RunContext
from flowsync.stages.upstream import Items, UpstreamMemory, UpstreamRecord, options_digest

# How a sync is to be done, and the records of that.


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
        mirror=options.mirror,
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


# Keeps the record of a run while it goes on: who makes it, how far it is every few seconds, and how
# it ended.
#
# The stages count and list; here is looked at that a few times a minute, and written in one
# statement. A database that cannot be told does not end the run: what it cannot be told of the
# progress is told the next time, and if it is gone, the sync will notice by itself.

_log = logging.getLogger(__name__)

INTERVAL: Final = 5.0
"""Seconds between two records of a run's progress: one small statement each."""


class Recording:
    """The record of one run. It is there from `start` on; before that, `finish` has nothing to
    write to.

    `left_out` is the list that the run's stages fill; it only grows.
    """

    def __init__(
        self,
        runs: Runs,
        progress: Progress,
        left_out: Sequence[LeftOut],
        interval: float = INTERVAL,
    ) -> None:
        self.key: RunKey | None = None
        self._runs = runs
        self._progress = progress
        self._left_out = left_out
        self._interval = interval
        self._recorded = 0

    async def start(self, version: NewVersion, terms: RunTerms) -> None:
        """Record that the run begins, and let the version that it makes name it."""
        self.key = await self._runs.start(version, actor(), terms)
        version.info["run"] = self.key.number

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Record the progress while the block runs."""
        keeper = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])

    async def finish(self, state: RunState, result: SyncResult) -> None:
        """Record how the run ended. It is what it is, even if the database is gone and cannot be
        told.
        """
        if self.key is None:
            return
        facts = msgspec.to_builtins(result)
        # They have rows of their own.
        del facts["left_out"]
        with suppress(CatalogError):
            await self._runs.finish(
                self.key,
                state,
                self._progress.read(),
                self._left_out,
                self._recorded,
                result=facts,
                error=result.error,
            )

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self._advance()
            except CatalogError as error:
                _log.warning("the progress of a run could not be recorded: %s", error)

    async def _advance(self) -> None:
        assert self.key is not None
        count = len(self._left_out)
        await self._runs.advance(
            self.key, self._progress.read(), self._left_out[:count], self._recorded
        )
        self._recorded = count


def actor() -> str:
    """Return who makes runs here: the user, the machine and the process."""
    return f"{_user(os.geteuid())}@{socket.gethostname()}, process {os.getpid()}"


@cache
def _user(number: int) -> str:
    # Where users are looked up over the network, the loop stands still meanwhile: once a process is
    # enough.
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
