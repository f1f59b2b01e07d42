"""`flowsync verify`: checks stored bytes, and repairs them."""

import click
import msgspec

from flowsync import library
from flowsync.cli.display import display
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import format_bytes, json_text
from flowsync.cli.settings import load
from flowsync.cli.sync_arguments import Rate
from flowsync.configuration import find_remote, register_alternates
from flowsync.library import Finding, VerifyReport


@click.command("verify")
@click.argument("name", required=False)
@click.option("--repair", is_flag=True, help="Fetch again what is missing, damaged or unreadable.")
@click.option(
    "--quick", is_flag=True, help="Read no file: see only what is missing or has another size."
)
@click.option(
    "--limit", type=Rate(), metavar="RATE", help="Read at most so much a second, such as 50MB/s."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(
    place: GlobalOptions,
    name: str | None,
    *,
    repair: bool,
    quick: bool,
    limit: float | None,
    as_json: bool,
) -> int:
    """Check the stored bytes of all versions of repository NAME, by default of all repositories,
    against their sizes and digests.

    What was checked longest ago comes first. It may be interrupted: the next run goes on where this
    one was. What is damaged is moved to store/quarantine in the home at once, so that no client is
    served or exported it, and counts as missing from then on. What cannot be read stays where it
    is. Right bytes that lie in store/quarantine are taken back.

    With --repair, what is missing, damaged or unreadable is fetched again from any source that it
    ever came from, with the credentials of flowsync.toml, and verified. A sync does not fetch it
    again by itself.

    Exit status: 0 when all is well or was repaired, 3 when something is missing, damaged or
    unreadable.
    """
    report = run_async(
        _verify(place, name, repair=repair, quick=quick, limit=limit, as_json=as_json)
    )
    return 3 if report.remaining else 0


async def _verify(
    place: GlobalOptions,
    name: str | None,
    *,
    repair: bool,
    quick: bool,
    limit: float | None,
    as_json: bool,
) -> VerifyReport:
    configuration = load(place)
    with display(quiet=as_json) as shown:
        async with configuration.engine() as engine:
            if repair:
                await register_alternates(engine, configuration.file)
            report = await library.verify(
                engine,
                name,
                repair=repair,
                quick=quick,
                limit=limit,
                find_remote=find_remote(configuration.file),
                observers=(shown.observe,),
            )
        for finding in report.findings:
            if not finding.repaired:
                shown.complain(_complaint(finding))
        shown.tell(_as_json(report) if as_json else _as_text(report))
    return report


def _complaint(finding: Finding) -> str:
    path = finding.relative_path or f"an artifact of {finding.size} bytes"
    where = "" if finding.repository is None else f" of {finding.repository}"
    reason = "" if finding.reason is None else f"; not repaired: {finding.reason}"
    return f"{path}{where}: {finding.problem} (blob {finding.blake3}){reason}"


def _as_text(report: VerifyReport) -> str:
    how = "looked at" if report.quick else "verified"
    unreadable = f"{report.unreadable} unreadable, " if report.unreadable else ""
    found = (
        f"{report.missing} missing, {report.damaged} damaged, "
        f"{unreadable}{report.repaired} repaired"
    )
    rate = report.bytes / report.seconds if report.seconds else 0.0
    speed = "" if report.quick else f" ({format_bytes(rate)}/s)"
    return (
        f"{report.repository or 'store'}: {how} {report.checked} blobs, "
        f"{format_bytes(report.bytes)} "
        f"in {report.seconds:.1f} s{speed}: {found}"
    )


def _as_json(report: VerifyReport) -> str:
    fields = {**msgspec.to_builtins(report), "remaining": report.remaining}
    return json_text(fields)
