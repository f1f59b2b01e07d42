"""`flowsync status`: where everything is and how large it is."""

from datetime import UTC, datetime

import click
import msgspec

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import format_bytes, tell, tell_json
from flowsync.cli.settings import load
from flowsync.configuration import Configuration


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(place: GlobalOptions, as_json: bool) -> None:
    """Show where home, database and store are, how large they are, when blobs were verified, and
    the latest version of every repository.
    """
    found = run_async(_status(load(place)))
    repositories = [
        {"name": latest.repository, "version": latest.number, "present": latest.present}
        for latest in found.latest
    ]
    if as_json:
        facts = msgspec.structs.asdict(found)
        del facts["latest"]
        tell_json({**facts, "repositories": repositories})
        return
    tell(f"home      {found.home}")
    tell(f"database  {found.database}, {format_bytes(found.database_bytes)}")
    tell(f"store     {found.store}, {found.blobs} blobs, {format_bytes(found.blob_bytes)}")
    tell(f"verified  {_verified(found)}")
    for repository in repositories:
        tell(
            f"  {repository['name']}: version {repository['version']}, "
            f"{repository['present']} units"
        )
    if not repositories:
        tell("no repositories yet: flowsync sync file URL --repository NAME makes one")


async def _status(configuration: Configuration) -> "library.Status":
    async with configuration.engine() as engine:
        return await library.status(engine)


def _verified(found: "library.Status") -> str:
    never = f"{found.never_verified} blobs never" if found.never_verified else ""
    oldest = found.oldest_verification
    if oldest is None:
        return never or "nothing to verify yet"
    days = (datetime.now(UTC) - oldest).days
    when = f"the oldest verification is {days} {'day' if days == 1 else 'days'} old"
    return f"{when}, {never}" if never else when
