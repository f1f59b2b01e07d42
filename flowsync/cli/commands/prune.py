"""`flowsync prune`: removes what nothing needs any more."""

from datetime import timedelta

import click

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import format_bytes, json_text, tell
from flowsync.cli.settings import load
from flowsync.cli.sync_arguments import Duration
from flowsync.library import PruneReport


@click.command("prune")
@click.option(
    "--older-than",
    type=Duration(),
    default="24h",
    show_default=True,
    metavar="DURATION",
    help="Leave alone what was needed, or stored, within this time, such as 30m, 24h or 7d.",
)
@click.option("--yes", "apply", is_flag=True, help="Remove it; without, only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(place: GlobalOptions, *, older_than: timedelta, apply: bool, as_json: bool) -> int:
    """Remove what nothing needs any more: units that no version has, their bytes, and what killed
    processes left behind.

    Without --yes nothing is changed; counts and sizes say what would be removed. Units get lost to
    all versions when versions are deleted, or when a sync is stopped before its version is
    complete.

    It is safe to run beside syncs. What a running sync may be using stays, whatever --older-than
    says.

    Exit status: 0 when all is well, 3 when a file cannot be removed.
    """
    report = run_async(_prune(place, older_than, apply))
    tell(json_text(report) if as_json else _as_text(report))
    return 3 if report.refused else 0


async def _prune(place: GlobalOptions, older_than: timedelta, apply: bool) -> PruneReport:
    async with load(place).engine(spends_reserve=True) as engine:
        return await library.prune(engine, older_than=older_than, apply=apply)


def _as_text(report: PruneReport) -> str:
    size = format_bytes(report.artifact_bytes + report.blob_bytes + report.staging_bytes)
    parts = [
        f"{report.contents} units with {report.links} paths and {report.sources} sources",
        f"{report.artifacts} artifacts, {format_bytes(report.artifact_bytes)}",
        f"{report.blobs} blobs without a record, {format_bytes(report.blob_bytes)}",
        f"{report.staging} left staging folders, {format_bytes(report.staging_bytes)}",
    ]
    verb = "removed" if report.applied else "would remove"
    lines = [f"{verb} {parts[0]}", *(f"{verb} {part}" for part in parts[1:])]
    if report.kept:
        lines.append(f"kept {report.kept} units to which tables of their type refer")
    if report.refused:
        lines.append(f"could not remove {report.refused} blobs; the next prune tries again")
    if report.applied:
        lines.append(f"freed {size} in {report.seconds:.1f} s")
    else:
        lines.append(f"nothing was changed; --yes frees {size}")
    return "\n".join(lines)
