"""`flowsync sync`: one repository from the command line, or those of the settings file."""

from collections.abc import Sequence

import click

from flowsync.cli.interruption import run_async
from flowsync.cli.kinds import kind_names, summaries
from flowsync.cli.place import Place
from flowsync.cli.plans import Plan, check_name, plans
from flowsync.cli.settings import load
from flowsync.cli.settings_file import RepositorySettings, SettingsFile
from flowsync.cli.syncing import Manner, sync_all
from flowsync.model.remote import Policy
from flowsync.model.repository import ErrorPolicy, SyncResult


class _SyncCommand(click.Command):
    """Lists the installed sources below its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Sources"):
            formatter.write_dl(summaries())


@click.command("sync", cls=_SyncCommand)
@click.argument("target", nargs=-1, metavar="[SOURCE URL | NAME]")
@click.option("-r", "--repository", help="The repository to sync into; made on its first sync.")
@click.option("--mirror", is_flag=True, help="Remove what upstream no longer has.")
@click.option(
    "--policy",
    type=click.Choice(["immediate", "on_demand", "streamed"]),
    help="Fetch the bytes now (the default), or only record where they are.",
)
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip", "defer"]),
    help="What a file that cannot be fetched means: fail (the default), or go on without it.",
)
@click.option(
    "--max-removal",
    type=click.FloatRange(0, 1),
    help="Share of its units that a mirror may lose at once; 0.5 unless set, 1 allows all.",
)
@click.option("--force", is_flag=True, help="Sync although upstream's metadata is unchanged.")
@click.option(
    "--no-wait", is_flag=True, help="Fail at once when another sync holds the repository."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a repository.")
@click.pass_obj
def command(
    place: Place,
    *,
    target: tuple[str, ...],
    repository: str | None,
    mirror: bool,
    policy: Policy | None,
    on_error: ErrorPolicy | None,
    max_removal: float | None,
    force: bool,
    no_wait: bool,
    as_json: bool,
) -> int:
    """Sync repositories from their upstreams into new versions.

    \b
    flowsync sync SOURCE URL -r NAME   one repository, as the options say
    flowsync sync NAME                 one repository of flowsync.toml
    flowsync sync                      all repositories of flowsync.toml

    SOURCE is a kind of upstream, see below. When nothing changed, no version is made.
    The options --repository, --mirror, --policy and --on-error belong to the first form; the others take these from flowsync.toml.
    """  # noqa: D301 - the \b is meant: click does not wrap the paragraph behind it
    if len(target) > 2:
        raise click.UsageError(
            f"expected SOURCE URL, NAME or nothing, found {len(target)} arguments"
        )
    described = len(target) == 2
    if not described and (repository or mirror or policy or on_error):
        raise click.UsageError(
            "--repository, --mirror, --policy and --on-error need SOURCE and URL"
        )
    configuration = load(place)
    if described:
        settings = RepositorySettings(
            source=target[0],
            url=target[1],
            mirror=mirror,
            policy=policy or "immediate",
            on_error=on_error or "fail",
        )
        wanted = _described(repository, settings)
    else:
        wanted = _configured(configuration.file, target)
    manner = Manner(force=force, wait=not no_wait, max_removal=max_removal, as_json=as_json)
    results = run_async(sync_all(configuration, wanted, manner))
    return _status(results)


def _status(results: Sequence[SyncResult]) -> int:
    """Return 1 when a sync failed, 3 when one went on without something, otherwise 0."""
    if any(result.error for result in results):
        return 1
    return 3 if any(result.left_out for result in results) else 0


def _described(repository: str | None, settings: RepositorySettings) -> list[Plan]:
    if settings.source not in kind_names():
        raise click.UsageError(
            f"there is no source {settings.source!r}; installed are: {', '.join(kind_names())}"
        )
    if repository is None:
        raise click.UsageError("say which repository to sync into: --repository NAME")
    return plans({repository: settings})


def _configured(file: SettingsFile, target: tuple[str, ...]) -> list[Plan]:
    known = file.repositories
    for name in known:
        check_name(name, f"{file.path}: ")
    if target:
        known = {target[0]: _find(target[0], file)}
    elif not known:
        raise click.UsageError(
            "no repositories in flowsync.toml; name one: flowsync sync file URL --repository NAME"
        )
    return plans(known, file)


def _find(name: str, file: SettingsFile) -> RepositorySettings:
    if name in kind_names():
        raise click.UsageError(
            f"source {name!r} needs a URL: flowsync sync {name} URL --repository NAME"
        )
    if name not in file.repositories:
        known = ", ".join(file.repositories) or "none"
        raise click.UsageError(f"there is no repository {name!r} in flowsync.toml; it has: {known}")
    return file.repositories[name]
