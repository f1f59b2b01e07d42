"""`flowsync status`: where everything is and how large it is."""

from datetime import UTC, datetime
from typing import Any

import click

import flowsync
from flowsync.cli.formatting import format_bytes
from flowsync.cli.interruption import run_async
from flowsync.cli.output import tell, tell_json
from flowsync.cli.place import GlobalOptions
from flowsync.cli.settings import load
from flowsync.configuration import Configuration


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(place: GlobalOptions, as_json: bool) -> None:
    """Show where home, database and store are, how large they are, when blobs were verified, and
    the latest version of every repository.
    """
    facts = run_async(_facts(load(place)))
    if as_json:
        tell_json(facts)
        return
    tell(f"home      {facts['home']}")
    tell(f"database  {facts['database']}, {format_bytes(facts['database_bytes'])}")
    tell(f"store     {facts['store']}, {facts['blobs']} blobs, {format_bytes(facts['blob_bytes'])}")
    tell(f"verified  {_verified(facts)}")
    for repository in facts["repositories"]:
        tell(
            f"  {repository['name']}: version {repository['version']}, {repository['present']} units"
        )
    if not facts["repositories"]:
        tell("no repositories yet: flowsync sync file URL --repository NAME makes one")


async def _facts(configuration: Configuration) -> dict[str, Any]:
    async with configuration.engine() as engine:
        usage = await engine.store.usage()
        oldest, never = await engine.catalog.verification.oldest()
        return {
            "home": str(engine.home),
            "database": _database(engine),
            "database_bytes": await engine.catalog.database.size(),
            "store": str(engine.home / "store"),
            "blobs": usage.blobs,
            "blob_bytes": usage.bytes,
            "oldest_verification": oldest,
            "never_verified": never,
            "repositories": [
                await _repository(engine, name)
                for name in await engine.catalog.repositories.names()
            ],
        }


def _verified(facts: dict[str, Any]) -> str:
    never = f"{facts['never_verified']} blobs never" if facts["never_verified"] else ""
    oldest: datetime | None = facts["oldest_verification"]
    if oldest is None:
        return never or "nothing to verify yet"
    days = (datetime.now(UTC) - oldest).days
    when = f"the oldest verification is {days} {'day' if days == 1 else 'days'} old"
    return f"{when}, {never}" if never else when


def _database(engine: "flowsync.Engine") -> str:
    if engine.embedded is None:
        return engine.catalog.database.shown
    return f"embedded PostgreSQL {engine.embedded.version} in {engine.embedded.data_folder}"


async def _repository(engine: "flowsync.Engine", name: str) -> dict[str, Any]:
    latest = await engine.catalog.repositories.version(name)
    return {"name": name, "version": latest.number, "present": latest.present}
