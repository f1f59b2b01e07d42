"""Runs the plans of one `flowsync sync` in one engine, and tells how each ended.

1. A failure keeps no other repository from its sync, nor do settings of it that cannot be used, nor
   a bug in a source; that one keeps its traceback.
2. Every plan gets one result, also when the engine cannot be opened.
3. Alternate sources are asked first as soon as there are any; who records one wants it to be used.
4. What failed is one line on stderr each: the result of another sync may stand between it and the
   end.
"""

import asyncio
import traceback
from collections.abc import Sequence
from typing import Any

import msgspec

import flowsync
from flowsync.cli.alternates import register
from flowsync.cli.display import Display, display
from flowsync.cli.plans import Unusable, WantedSync
from flowsync.cli.results import as_json, as_text
from flowsync.cli.settings import Configuration
from flowsync.errors import FlowsyncError, SettingsError
from flowsync.model.repository import SyncResult
from flowsync.model.url import redact


class SyncFlags(msgspec.Struct, frozen=True, kw_only=True):
    """How all syncs of one call are done and told.

    Unless they are `None`, `max_removal` replaces that of the plans and `workers` that of the
    settings.
    """

    force: bool
    wait: bool
    max_removal: float | None
    as_json: bool
    workers: int | None = None


async def sync_all(
    configuration: Configuration, plans: Sequence[WantedSync | Unusable], manner: SyncFlags
) -> list[SyncResult]:
    """Sync all repositories, as many at a time as the engine lets begin, and return the results in
    the order of the plans.
    """
    with display(quiet=manner.as_json, expected=len(plans)) as shown:
        engine = configuration.engine(manner.workers)
        try:
            acs = await _open(engine, configuration)
        except SettingsError:
            raise
        except FlowsyncError as error:
            shown.complain(str(error))
            return [_tell(_failed(plan, str(error)), manner, shown) for plan in plans]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_sync(engine, plan, manner, shown, acs=acs)) for plan in plans
                ]
            return [task.result() for task in tasks]
        finally:
            await engine.close()


async def _open(engine: "flowsync.Engine", configuration: Configuration) -> bool:
    """Open the engine with what it needs for alternate sources, and say whether there are any."""
    await engine.open()
    try:
        return await register(engine, configuration.file)
    except BaseException:
        await engine.close()
        raise


async def _sync(
    engine: "flowsync.Engine",
    plan: WantedSync | Unusable,
    manner: SyncFlags,
    shown: Display,
    *,
    acs: bool,
) -> SyncResult:
    if isinstance(plan, Unusable):
        shown.complain(plan.reason)
        return _tell(_failed(plan, plan.reason), manner, shown)
    try:
        result = await _run(engine, plan, manner, shown, acs=acs)
    except Exception as error:  # noqa: BLE001 - a bug, most likely in a plugin
        tell_bug(shown, about(plan), error)
        result = _failed(plan, str(error) or repr(error))
    return _tell(result, manner, shown)


def declare_sync(
    engine: "flowsync.Engine",
    plan: WantedSync,
    manner: SyncFlags,
    shown: Display,
    *,
    acs: bool = False,
) -> "flowsync.DeclarativeVersion":
    """Return the sync that a plan asks for, not yet begun. `acs` says whether alternate sources are
    asked for bytes.
    """
    return flowsync.DeclarativeVersion(
        plan.source.first_stage(plan.remote),
        plan.repository,
        plan.mirror,
        acs,
        engine=engine,
        force=manner.force,
        wait=manner.wait,
        on_error=plan.on_error,
        observers=(shown.observe,),
        plan=plan.planned,
        **_limits(plan, manner),
    )


async def _run(
    engine: "flowsync.Engine", plan: WantedSync, manner: SyncFlags, shown: Display, *, acs: bool
) -> SyncResult:
    sync = declare_sync(engine, plan, manner, shown, acs=acs)
    try:
        await sync.acreate()
    except FlowsyncError as error:
        shown.complain(f"{about(plan)} failed: {error}")
        return sync.result or _failed(plan, str(error))
    assert sync.result is not None
    return sync.result


def tell_bug(shown: Display, what: str, error: Exception) -> None:
    """Say that something failed in a way that nobody meant, and where."""
    shown.complain(f"{what} failed by a bug: {error!r}")
    shown.note("".join(traceback.format_exception(error)).rstrip("\n"))


def about(plan: WantedSync) -> str:
    """Return what a sync is called in complaints."""
    return f"sync of {plan.repository.name} from {redact(plan.remote.url)}"


def _limits(plan: WantedSync, manner: SyncFlags) -> dict[str, Any]:
    removal = plan.max_removal if manner.max_removal is None else manner.max_removal
    limits = {"max_errors": plan.max_errors, "max_removal": removal, "timeout": plan.timeout}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _failed(plan: WantedSync | Unusable, reason: str) -> SyncResult:
    name = plan.name if isinstance(plan, Unusable) else plan.repository.name
    return SyncResult(repository=name, error=reason)


def _tell(result: SyncResult, manner: SyncFlags, shown: Display) -> SyncResult:
    for left_out in result.left_out:
        shown.complain(f"{result.repository}: left out {left_out.relative_path}: {left_out.reason}")
    shown.tell(as_json(result) if manner.as_json else as_text(result))
    return result
