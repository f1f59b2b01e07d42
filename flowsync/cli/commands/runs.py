"""`flowsync runs`: what syncs were made, and how they ended."""

import click

from flowsync.cli.interruption import run_async
from flowsync.cli.place import Place
from flowsync.cli.run_report import (
    HEADER,
    as_json,
    as_row,
    as_text,
    left_out_as_json,
    left_out_as_text,
)
from flowsync.cli.settings import load


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
    "--json",
    "as_objects",
    is_flag=True,
    help="Print one JSON object a run; with --id, also one for each left-out file.",
)
@click.pass_obj
def command(
    place: Place, name: str | None, number: int | None, limit: int, as_objects: bool
) -> None:
    """List the newest runs of repository NAME, or of all repositories, newest first.

    A run is "lost" when its process is gone without having said how it ended: it was killed, or its machine stopped. Nothing that it left
    half-done is visible, and the next sync goes on from what it fetched.
    """
    if number is None:
        run_async(_list(place, name, limit, as_objects))
    else:
        run_async(_show(place, name, number, as_objects))


async def _list(place: Place, name: str | None, limit: int, as_objects: bool) -> None:
    async with load(place).engine() as engine:
        found = await engine.catalog.runs.newest(name, limit)
    if not as_objects:
        click.echo(HEADER if found else "no runs yet")
    for run in found:
        click.echo(as_json(run) if as_objects else as_row(run))


async def _show(place: Place, name: str | None, number: int, as_objects: bool) -> None:
    async with load(place).engine() as engine:
        runs = engine.catalog.runs
        run = await runs.run(number, name)
        click.echo(as_json(run) if as_objects else "\n".join(as_text(run)))
        async for batch in runs.left_out(number):
            for one in batch:
                click.echo(left_out_as_json(run, one) if as_objects else left_out_as_text(one))
