"""`flowsync delete`: a version less."""

import click

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import tell, tell_json
from flowsync.cli.settings import load
from flowsync.library import RepositoryVersion


@click.command("delete")
@click.argument("name")
@click.argument("number", type=click.IntRange(min=0))
@click.option(
    "--no-wait", is_flag=True, help="Fail at once when a sync or a deletion holds the repository."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(place: GlobalOptions, name: str, number: int, no_wait: bool, as_json: bool) -> None:
    """Delete version NUMBER of repository NAME. There is no way back.

    All other versions keep exactly what they hold; the next one tells from then on what this one
    added and removed. Files in the store stay. The number is never used again. A protected version
    and the only one of a repository cannot be deleted.
    """
    successor, latest = run_async(_delete(place, name, number, wait=not no_wait))
    if as_json:
        facts = {"repository": name, "deleted": number, "successor": successor, "latest": latest}
        tell_json(facts)
    elif successor is None:
        tell(
            f"{name}: version {number} deleted; the latest is version {latest.number} with "
            f"{latest.present} units"
        )
    else:
        tell(
            f"{name}: version {number} deleted; version {successor.number} now tells its "
            f"changes: {successor.added} added, "
            f"{successor.removed} removed, {successor.present} units present"
        )


async def _delete(
    place: GlobalOptions, name: str, number: int, *, wait: bool
) -> tuple[RepositoryVersion | None, RepositoryVersion]:
    async with load(place).engine(spends_reserve=True) as engine:
        successor = await library.delete_version(engine, name, number, wait=wait)
        return successor, await library.version(engine, name)
