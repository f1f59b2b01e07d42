"""`flowsync plan`: what a sync would do, and nothing of it done."""

from pathlib import Path

import click

from flowsync.cli.dry_run_report import plan_all
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import tell_json
from flowsync.cli.settings import load
from flowsync.cli.sync_arguments import (
    SourcesCommand,
    asked_syncs,
    is_described,
    sync_arguments,
)
from flowsync.cli.syncing import SyncFlags
from flowsync.configuration import WantedSync, planned_sync, write_plan_file
from flowsync.model.remote import Policy
from flowsync.model.repository import ErrorPolicy


@click.command("plan", cls=SourcesCommand)
@sync_arguments
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    help="Write the plan to a file, for `flowsync sync --plan FILE`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a repository.")
@click.pass_obj
def command(
    place: GlobalOptions,
    *,
    target: tuple[str, ...],
    repository: str | None,
    mirror: bool,
    policy: Policy | None,
    on_error: ErrorPolicy | None,
    max_removal: float | None,
    overrides: dict[str, list[str]],
    force: bool,
    output: Path | None,
    as_json: bool,
) -> int:
    """Say what a sync would add, remove and download, and change nothing.

    Takes the arguments of `flowsync sync`. Only upstream's metadata is fetched, with the files that
    a kind of source reads to find others. Whether all files can be had, only the sync finds out.
    """
    configuration = load(place)
    wanted = asked_syncs(
        configuration,
        target,
        repository=repository,
        mirror=mirror,
        policy=policy,
        on_error=on_error,
        overrides=overrides,
    )
    flags = SyncFlags(force=force, wait=True, max_removal=max_removal, as_json=as_json)
    found = run_async(plan_all(configuration, wanted, flags))
    if as_json:
        for plan in filter(None, found):
            tell_json(plan)
    if None in found:
        return 1
    if output is not None:
        syncs = [
            planned_sync(one, plan, configured=not is_described(target))
            for one, plan in zip(wanted, found, strict=True)
            if plan is not None and isinstance(one, WantedSync)
        ]
        write_plan_file(output, syncs, force=force, max_removal=max_removal, overrides=overrides)
    return 0
