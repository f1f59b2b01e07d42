"""`flowsync runs`: what syncs were made, and how they ended."""

from contextlib import aclosing
from datetime import timedelta

import click

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import json_text, tell
from flowsync.cli.run_report import (
    HEADER,
    as_json,
    as_row,
    as_text,
    left_out_as_json,
    left_out_as_text,
)
from flowsync.cli.settings import load
from flowsync.cli.sync_arguments import Duration


@click.command("runs")
@click.argument("name", required=False)
@click.option("--id", "number", type=int, help="One run in detail, with what it left out and why.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many of the newest runs to list.",
)
@click.option(
    "--remove-older-than",
    "older_than",
    type=Duration(),
    metavar="DURATION",
    help="Remove the records of runs that ended longer ago, such as 90d.",
)
@click.option(
    "--yes", "apply", is_flag=True, help="Remove them; without, only say how many would go."
)
@click.option(
    "--json",
    "as_objects",
    is_flag=True,
    help="Print one JSON object a run; with --id, also one for each left-out file.",
)
@click.pass_obj
def command(
    place: GlobalOptions,
    name: str | None,
    *,
    number: int | None,
    limit: int,
    older_than: timedelta | None,
    apply: bool,
    as_objects: bool,
) -> None:
    """List the newest runs of repository NAME, or of all repositories, newest first.

    A run is "lost" when its process is gone without having said how it ended: it was killed, or its
    machine stopped. Nothing that it left half-done is visible, and the next sync goes on from what
    it fetched.

    With --remove-older-than, records of runs go, of NAME or of all repositories, with what they
    left out. Versions stay. Of each repository the last run stays, and the last that went well.
    """
    if apply and older_than is None:
        raise click.UsageError("--yes goes with --remove-older-than")
    if older_than is not None:
        if number is not None:
            raise click.UsageError("list one run, or remove old ones, not both")
        count = run_async(_remove(place, name, older_than, apply))
        tell(json_text({"removed": count, "applied": apply}) if as_objects else _told(count, apply))
    elif number is None:
        run_async(_list(place, name, limit, as_objects))
    else:
        run_async(_show(place, name, number, as_objects))


async def _remove(
    place: GlobalOptions, name: str | None, older_than: timedelta, apply: bool
) -> int:
    async with load(place).engine() as engine:
        return await library.remove_runs(
            engine, older_than=older_than, repository=name, apply=apply
        )


def _told(count: int, applied: bool) -> str:
    if applied:
        return f"removed the records of {count} runs"
    return f"would remove the records of {count} runs; nothing was changed, --yes does it"


async def _list(place: GlobalOptions, name: str | None, limit: int, as_objects: bool) -> None:
    async with load(place).engine() as engine:
        found = await library.runs(engine, name, limit)
    if not as_objects:
        tell(HEADER if found else "no runs yet")
    for run in found:
        tell(as_json(run) if as_objects else as_row(run))


async def _show(place: GlobalOptions, name: str | None, number: int, as_objects: bool) -> None:
    async with load(place).engine() as engine:
        run = await library.run(engine, number, name)
        tell(as_json(run) if as_objects else "\n".join(as_text(run)))
        async with aclosing(library.left_out(engine, number)) as batches:
            async for batch in batches:
                for one in batch:
                    tell(left_out_as_json(run, one) if as_objects else left_out_as_text(one))
