"""`flowsync versions`: the versions of a repository."""

import click

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import tell, tell_json
from flowsync.cli.settings import load
from flowsync.library import RepositoryVersion


@click.command("versions")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a version.")
@click.pass_obj
def command(place: GlobalOptions, name: str, as_json: bool) -> None:
    """List the versions of repository NAME, oldest first.

    Versions with the same root hold the same content, in whatever repository and on whatever
    machine; --json shows it whole.
    """
    versions = run_async(_versions(place, name))
    if as_json:
        for version in versions:
            tell_json(version)
        return
    tell(
        f"{'version':>7}  {'created':<20}  {'added':>8}  {'removed':>8}  {'present':>8}  "
        f"{'root':<12}"
    )
    for version in versions:
        created = version.created.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        protected = "  protected" if version.protected else ""
        tell(
            f"{version.number:>7}  {created:<20}  {version.added:>8}  {version.removed:>8}  "
            f"{version.present:>8}  "
            f"{version.root[:12]}{protected}"
        )


async def _versions(place: GlobalOptions, name: str) -> list[RepositoryVersion]:
    async with load(place).engine() as engine:
        return await library.versions(engine, name)
