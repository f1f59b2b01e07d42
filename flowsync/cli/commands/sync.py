"""`flowsync sync`: one repository from the command line, or those of the settings file."""

from collections.abc import Sequence
from pathlib import Path

import click

from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.settings import load
from flowsync.cli.sync_arguments import SourcesCommand, asked_syncs, sync_arguments
from flowsync.cli.syncing import SyncFlags, sync_all
from flowsync.configuration import UnusableSync, WantedSync, read_plan_file, syncs_of_plan
from flowsync.model.measures import MOST_WORKERS
from flowsync.model.remote import Policy
from flowsync.model.repository import ErrorPolicy, SyncResult


@click.command("sync", cls=SourcesCommand)
@sync_arguments
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    help="Do exactly what `flowsync plan --output FILE` wrote down, or stop.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, MOST_WORKERS),
    help="Processes that download and verify beside the main one; may pay for many small files.",
)
@click.option(
    "--no-wait", is_flag=True, help="Fail at once when another sync holds the repository."
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
    plan_file: Path | None,
    workers: int | None,
    no_wait: bool,
    as_json: bool,
) -> int:
    """Sync repositories from their upstreams into new versions.

    \b
    flowsync sync SOURCE URL -r NAME   one repository, as the options say
    flowsync sync NAME...              repositories of flowsync.toml
    flowsync sync                      all repositories of flowsync.toml
    flowsync sync --plan FILE          what was planned, exactly or not at all

    SOURCE is a kind of upstream, see below. With a second word that is a URL the first one is a
    kind, otherwise all are names. When nothing changed, no version is made. The options
    --repository, --mirror, --policy and --on-error belong to the first form; the others take these
    from flowsync.toml.
    """  # noqa: D301 - the \b is meant: click does not wrap the paragraph behind it
    configuration = load(place)
    if plan_file is not None:
        given = (*target, repository, mirror, policy, on_error, force, overrides)
        if any(given) or max_removal is not None:
            raise click.UsageError(
                "--plan says it all: only --workers, --no-wait and --json go with it"
            )
        content = read_plan_file(plan_file)
        wanted: list[WantedSync | UnusableSync] = [*syncs_of_plan(content, configuration.file)]
        force, max_removal = content.force, content.max_removal
    else:
        wanted = asked_syncs(
            configuration,
            target,
            repository=repository,
            mirror=mirror,
            policy=policy,
            on_error=on_error,
            overrides=overrides,
        )
    flags = SyncFlags(
        force=force,
        wait=not no_wait,
        max_removal=max_removal,
        workers=workers,
        as_json=as_json,
    )
    results = run_async(sync_all(configuration, wanted, flags))
    return _status(results)


def _status(results: Sequence[SyncResult]) -> int:
    """Return 1 when a sync failed, 3 when one went on without something, otherwise 0."""
    if any(result.error for result in results):
        return 1
    return 3 if any(result.left_out for result in results) else 0
