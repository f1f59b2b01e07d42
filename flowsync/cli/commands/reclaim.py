"""`flowsync reclaim`: gives up bytes that can be fetched again."""

import click

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import complain, format_bytes, json_text, tell
from flowsync.cli.settings import load
from flowsync.library import ReclaimReport


@click.command("reclaim")
@click.argument("name")
@click.argument("numbers", type=int, nargs=-1, metavar="[NUMBER]...")
@click.option(
    "--keep-latest",
    type=click.IntRange(min=1),
    metavar="N",
    help="All versions but the N latest, instead of naming them.",
)
@click.option("--yes", "apply", is_flag=True, help="Do it; without, only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(
    place: GlobalOptions,
    name: str,
    *,
    numbers: tuple[int, ...],
    keep_latest: int | None,
    apply: bool,
    as_json: bool,
) -> None:
    """Free the disk space of versions of repository NAME, all of them unless NUMBERs are given, and
    keep the versions.

    Bytes go that no other version, of this or another repository, needs, and of which a source is
    known to fetch them from again. The content becomes what it is after an on-demand sync; a sync
    with the policy immediate fetches it again.

    Without --yes nothing is changed. What has no source is listed on stderr and stays. Exports keep
    the bytes that they link to.
    """
    if numbers and keep_latest:
        raise click.UsageError("name versions, or say how many to keep, not both")
    report = run_async(_reclaim(place, name, numbers, keep_latest or 0, apply))
    for path in report.refused_paths:
        complain(f"{name}: {path} stays, no source of it is known")
    tell(json_text(report) if as_json else _as_text(report))


async def _reclaim(
    place: GlobalOptions, name: str, numbers: tuple[int, ...], keep_latest: int, apply: bool
) -> ReclaimReport:
    async with load(place).engine(spends_reserve=True) as engine:
        return await library.reclaim(
            engine, name, numbers or None, keep_latest=keep_latest, apply=apply
        )


def _as_text(report: ReclaimReport) -> str:
    verb = "released" if report.applied else "would release"
    stay = [
        f"{count} {why}"
        for count, why in (
            (report.shared, "needed elsewhere"),
            (report.busy, "perhaps in use by a running sync"),
            (report.refused, "without a source"),
        )
        if count
    ]
    kept = f"; stay: {', '.join(stay)}" if stay else ""
    hint = "" if report.applied else "; nothing was changed, --yes does it"
    return (
        f"{report.repository}: {verb} {report.artifacts} artifacts, "
        f"{format_bytes(report.bytes)}{kept}{hint}"
    )
