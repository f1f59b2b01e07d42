"""`flowsync sync`: one repository from the command line, or those of the settings file."""

import asyncio
from collections.abc import Sequence

import click
import msgspec

from flowsync.cli.kinds import kind, kind_names
from flowsync.cli.outcome import complain, run_async
from flowsync.cli.progress import progress_display
from flowsync.cli.settings import (
    Configuration,
    Place,
    RepositorySettings,
    load,
    remote_of,
    repository_of,
)
from flowsync.cli.text import format_bytes
from flowsync.model.errors import FlowsyncError, SettingsError
from flowsync.model.events import Observer
from flowsync.model.remote import Policy
from flowsync.model.repository import SyncResult
from flowsync.model.url import redact
from flowsync.sync.declarative_version import DeclarativeVersion
from flowsync.sync.engine import Engine


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """How all syncs of this call are done and told."""

    force: bool
    wait: bool
    as_json: bool


@click.command("sync")
@click.argument("target", nargs=-1, metavar="[SOURCE URL | NAME]")
@click.option("-r", "--repository", help="The repository to sync into; made on its first sync.")
@click.option("--mirror", is_flag=True, help="Remove what upstream no longer has.")
@click.option(
    "--policy",
    type=click.Choice(["immediate", "on_demand", "streamed"]),
    help="Fetch the bytes now (the default), or only record where they are.",
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
    force: bool,
    no_wait: bool,
    as_json: bool,
) -> int:
    r"""Sync repositories from their upstreams into new versions.

    \b
      flowsync sync SOURCE URL -r NAME   one repository, as the options say
      flowsync sync NAME                 one repository of flowsync.toml
      flowsync sync                      all repositories of flowsync.toml

    SOURCE is a kind of upstream; `file` takes the URL of a PULP_MANIFEST. When nothing changed, no version is made.
    The options --repository, --mirror and --policy belong to the first form; the others take these from flowsync.toml.
    """
    configuration = load(place)
    described = len(target) == 2
    if not described and (repository or mirror or policy):
        raise click.UsageError("--repository, --mirror and --policy need SOURCE and URL")
    wanted = (
        _described(target[0], target[1], repository, mirror, policy or "immediate")
        if described
        else _configured(configuration, target)
    )
    flags = Flags(force=force, wait=not no_wait, as_json=as_json)
    results = run_async(lambda: _sync_all(configuration, wanted, flags))
    return 1 if any(result.error for result in results) else 0


def _described(
    source: str, url: str, repository: str | None, mirror: bool, policy: Policy
) -> dict[str, RepositorySettings]:
    if source not in kind_names():
        raise click.UsageError(
            f"there is no source {source!r}; installed are: {', '.join(kind_names())}"
        )
    if repository is None:
        raise click.UsageError("say which repository to sync into: --repository NAME")
    _check_name(repository)
    return {repository: RepositorySettings(source=source, url=url, mirror=mirror, policy=policy)}


def _configured(
    configuration: Configuration, target: tuple[str, ...]
) -> dict[str, RepositorySettings]:
    known = configuration.settings.repositories
    for name in known:
        _check_name(name)
    if len(target) > 2:
        raise click.UsageError(
            f"expected SOURCE URL, NAME or nothing, found {len(target)} arguments"
        )
    if not target:
        if not known:
            raise click.UsageError(
                "no repositories in flowsync.toml; name one: flowsync sync file URL --repository NAME"
            )
        return known
    name = target[0]
    if name in kind_names():
        raise click.UsageError(
            f"source {name!r} needs a URL: flowsync sync {name} URL --repository NAME"
        )
    if name not in known:
        raise click.UsageError(
            f"there is no repository {name!r} in flowsync.toml; it has: {', '.join(known) or 'none'}"
        )
    return {name: known[name]}


def _check_name(repository: str) -> None:
    if repository in kind_names():
        raise SettingsError(
            f"a repository cannot be named {repository!r}: that is a kind of source"
        )


async def _sync_all(
    configuration: Configuration, wanted: dict[str, RepositorySettings], flags: Flags
) -> Sequence[SyncResult]:
    with progress_display(quiet=flags.as_json) as observer:
        async with configuration.engine() as engine, asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_sync(engine, name, settings, flags, observer))
                for name, settings in wanted.items()
            ]
    return [task.result() for task in tasks]


async def _sync(
    engine: Engine, name: str, settings: RepositorySettings, flags: Flags, observer: Observer
) -> SyncResult:
    """Sync one repository and tell how it went; a failure must not keep the other repositories from their sync."""
    declarative: DeclarativeVersion | None = None
    try:
        remote = remote_of(name, settings)
        declarative = DeclarativeVersion(
            kind(settings.source).first_stage(remote),
            repository_of(name, settings),
            settings.mirror,
            engine=engine,
            force=flags.force,
            wait=flags.wait,
            observers=(observer,),
        )
        await declarative.acreate()
        assert declarative.result is not None
        result = declarative.result
    except FlowsyncError as error:
        complain(f"sync of {name} from {redact(settings.url)} failed: {error}")
        result = (declarative and declarative.result) or SyncResult(
            repository=name, error=str(error)
        )
    click.echo(_as_json(result) if flags.as_json else _as_text(result), nl=True)
    return result


def _as_json(result: SyncResult) -> str:
    return msgspec.json.encode(result).decode()


def _as_text(result: SyncResult) -> str:
    if result.error:
        return f"{result.repository}: failed, no version"
    if result.skipped:
        return (
            f"{result.repository}: upstream is unchanged, skipped; {result.present} units present"
        )
    made = "no change, no version" if result.version is None else f"version {result.version}"
    rate = result.downloaded / result.seconds if result.seconds else 0.0
    return (
        f"{result.repository}: {made}: {result.added} added, {result.removed} removed, {result.present} present; "
        f"downloaded {result.downloaded} files, {format_bytes(result.bytes)} "
        f"in {result.seconds:.1f} s ({rate:.0f} files/s)"
    )
