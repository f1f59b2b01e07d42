"""A plan in words for people."""

from flowsync.cli.formatting import format_bytes
from flowsync.model.plan import SyncPlan


def as_text(plan: SyncPlan) -> str:
    """Return the plan as lines."""
    if plan.unchanged:
        return f"{plan.repository}: upstream is unchanged, a sync would be skipped; {plan.present} units present"
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
