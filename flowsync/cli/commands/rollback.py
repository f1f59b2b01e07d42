"""`flowsync rollback`: an old version's content as the newest version."""

import click

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import tell, tell_json
from flowsync.cli.settings import load
from flowsync.library import RepositoryVersion


@click.command("rollback")
@click.argument("name")
@click.argument("number", type=click.IntRange(min=0))
@click.option(
    "--no-wait", is_flag=True, help="Fail at once when a sync or a deletion holds the repository."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(place: GlobalOptions, name: str, number: int, no_wait: bool, as_json: bool) -> None:
    """Make a new version of repository NAME that holds what version NUMBER holds.

    All versions stay as they are. When the latest version holds just that already, no version is
    made. The next sync brings the repository forward again, to what upstream has then.
    """
    version, latest = run_async(_roll_back(place, name, number, wait=not no_wait))
    if as_json:
        facts = {"repository": name, "rolled_back_to": number, "version": version, "latest": latest}
        tell_json(facts)
    elif version is None:
        tell(
            f"{name}: version {latest.number}, the latest, holds what version {number} holds; "
            "no version"
        )
    else:
        tell(
            f"{name}: version {version.number}: holds what version {number} holds; "
            f"{version.added} added, "
            f"{version.removed} removed, {version.present} units present"
        )


async def _roll_back(
    place: GlobalOptions, name: str, number: int, *, wait: bool
) -> tuple[RepositoryVersion | None, RepositoryVersion]:
    async with load(place).engine() as engine:
        version = await library.roll_back(engine, name, number, wait=wait)
        return version, version or await library.version(engine, name)
