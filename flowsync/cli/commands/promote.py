"""`flowsync promote`: a version of one repository as the newest version of another."""

import re
from typing import Final

import click

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import tell, tell_json
from flowsync.cli.settings import load
from flowsync.library import RepositoryVersion

_SOURCE: Final = re.compile(r"(?P<name>[^@]+)(?:@(?P<number>[0-9]{1,9}))?", re.ASCII)


@click.command("promote")
@click.argument("source", metavar="FROM[@N]")
@click.argument("target", metavar="TO")
@click.option(
    "--no-wait", is_flag=True, help="Fail at once when a sync or a deletion holds the repository."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(place: GlobalOptions, source: str, target: str, no_wait: bool, as_json: bool) -> None:
    """Make a new version of repository TO that equals the latest version of repository FROM, or its
    version N.

    Upstream is not asked, and no byte moves. A repository TO that does not exist is made. When its
    latest version holds just that already, no version is made. So what was tried from one
    repository is served, unchanged, from another.
    """
    found = _SOURCE.fullmatch(source)
    if found is None:
        raise click.UsageError(f"FROM must be NAME or NAME@NUMBER, found {source!r}")
    number = None if found["number"] is None else int(found["number"])
    version, latest = run_async(_promote(place, found["name"], number, target, wait=not no_wait))
    if as_json:
        tell_json({"from": source, "repository": target, "version": version, "latest": latest})
    elif version is None:
        tell(
            f"{target}: version {latest.number}, the latest, holds what {source} holds; no version"
        )
    else:
        tell(
            f"{target}: version {version.number}: holds what {source} holds; "
            f"{version.added} added, {version.removed} removed, {version.present} units present"
        )


async def _promote(
    place: GlobalOptions, source: str, number: int | None, target: str, *, wait: bool
) -> tuple[RepositoryVersion | None, RepositoryVersion]:
    async with load(place).engine() as engine:
        version = await library.promote(engine, source, target, number=number, wait=wait)
        return version, version or await library.version(engine, target)
