"""`flowsync remove`: a repository less."""

import click

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import json_text, tell
from flowsync.cli.settings import load
from flowsync.library import RemovalReport


@click.command("remove")
@click.argument("name")
@click.option("--yes", "apply", is_flag=True, help="Remove it; without, only say what would go.")
@click.option(
    "--no-wait", is_flag=True, help="Fail at once when a sync or a deletion holds the repository."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(place: GlobalOptions, name: str, *, apply: bool, no_wait: bool, as_json: bool) -> None:
    """Remove repository NAME with all its versions and runs. There is no way back.

    Without --yes nothing is changed; counts say what would go. Files in the store stay until
    `flowsync prune` removes those that no other repository needs. Exports stay.

    A repository with a protected version is not removed. While it stands in flowsync.toml, the next
    `flowsync sync` makes it anew, and its versions are counted from 1 again.
    """
    report, configured = run_async(_remove(place, name, apply=apply, wait=not no_wait))
    tell(json_text(report) if as_json else _as_text(report, configured=configured))


async def _remove(
    place: GlobalOptions, name: str, *, apply: bool, wait: bool
) -> tuple[RemovalReport, bool]:
    configuration = load(place)
    async with configuration.engine(spends_reserve=True) as engine:
        report = await library.remove_repository(engine, name, apply=apply, wait=wait)
    return report, name in configuration.file.repositories


def _as_text(report: RemovalReport, *, configured: bool) -> str:
    what = f"{report.versions} versions with {report.units} units, {report.runs} runs"
    name = report.repository
    again = f"; it still stands in flowsync.toml, and `flowsync sync {name}` makes it anew"
    if report.applied:
        return (
            f"{name}: removed {what}; `flowsync prune` frees the bytes{again if configured else ''}"
        )
    if report.protected:
        return (
            f"{name}: has {what}; {report.protected} of the versions are protected, unprotect "
            "them first"
        )
    return f"{name}: would remove {what}; nothing was changed, --yes does it"
