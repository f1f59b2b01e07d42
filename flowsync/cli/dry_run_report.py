"""Does the dry runs of one `flowsync plan` in one engine, one after the other, and tells each in
words for people: nothing is waited for but metadata.
"""

from collections.abc import Sequence

import flowsync
from flowsync.cli.display import Display, display
from flowsync.cli.output import format_bytes
from flowsync.cli.syncing import SyncFlags, about, declare_sync, tell_bug
from flowsync.configuration import Configuration, UnusableSync, WantedSync
from flowsync.errors import FlowsyncError
from flowsync.model.reports import SyncPlan


async def plan_all(
    configuration: Configuration, syncs: Sequence[WantedSync | UnusableSync], flags: SyncFlags
) -> list[SyncPlan | None]:
    """Plan all syncs and tell each plan; `None` stands for one that failed, which is told on
    stderr.
    """
    with display(quiet=flags.as_json, expected=len(syncs)) as shown:
        async with configuration.engine() as engine:
            return [await _plan(engine, wanted, flags, shown) for wanted in syncs]


async def _plan(
    engine: "flowsync.Engine", wanted: WantedSync | UnusableSync, flags: SyncFlags, shown: Display
) -> SyncPlan | None:
    if isinstance(wanted, UnusableSync):
        shown.complain(wanted.reason)
        return None
    try:
        found = await declare_sync(engine, wanted, flags, shown, acs=False).aplan()
    except FlowsyncError as error:
        shown.complain(f"plan of the {about(wanted)} failed: {error}")
        return None
    except Exception as error:  # noqa: BLE001 - a bug, most likely in a plugin
        tell_bug(shown, f"plan of the {about(wanted)}", error)
        return None
    if not flags.as_json:
        shown.tell(_as_text(found))
    return found


def _as_text(plan: SyncPlan) -> str:
    """Return the plan as lines."""
    if plan.unchanged:
        return (
            f"{plan.repository}: upstream is unchanged, a sync would be skipped; "
            f"{plan.present} units present"
        )
    unsized = f", {plan.downloads_unsized} of unknown size" if plan.downloads_unsized else ""
    version = "a new version" if plan.changes else "no version, because nothing changes"
    lines = [
        f"{plan.repository}: from version {plan.base}, a sync would make {version}",
        f"  add       {plan.added} units, {format_bytes(plan.added_bytes)}{_bare(plan.added_bare)}",
        f"  remove    {plan.removed} units, {_lost(plan)}",
        f"  download  {plan.downloads} files, {format_bytes(plan.download_bytes)}{unsized}",
        f"  hold      {plan.present} units, root {plan.root[:12]}",
    ]
    lines += [f"  but it would fail: {plan.refusal}"] if plan.refusal else []
    return "\n".join(lines)


def _lost(plan: SyncPlan) -> str:
    return format_bytes(plan.removed_bytes) + _bare(plan.removed_bare)


def _bare(count: int) -> str:
    return f", {count} of them without files" if count else ""
