"""`flowsync acs`: alternate content sources, from which syncs take bytes before they ask
upstream.
"""

from collections.abc import Sequence

import click
import msgspec

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import complain, tell, tell_json
from flowsync.cli.settings import load
from flowsync.configuration import (
    InstalledKinds,
    alternate_first_stage,
    described_remote,
    register_alternates,
)
from flowsync.errors import DeclarationError, SettingsError
from flowsync.library import AlternateSource, RefreshedPath
from flowsync.model.url import redact

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


@click.group("acs")
def command() -> None:
    """Alternate content sources: places that have the same bytes, nearer or cheaper than upstream.

    A source is any upstream, also a local folder (file:///media/dvd/). Of it only metadata is read,
    by `refresh`; every sync then takes what it needs from there where the digest is the same, and
    from its own upstream where that fails. Credentials are those of [alternate_sources.NAME] in
    flowsync.toml.
    """


@command.command("add")
@click.argument("name")
@click.argument("source")
@click.argument("url")
@click.option("--path", "paths", multiple=True, help="Only this path below URL; may be repeated.")
@click.option(
    "--priority", type=int, default=0, show_default=True, help="Higher ones are tried first."
)
@click.pass_obj
def _add(
    place: GlobalOptions, *, name: str, source: str, url: str, paths: tuple[str, ...], priority: int
) -> None:
    """Record alternate source NAME, or change it: an upstream of kind SOURCE at URL, which must not
    hold credentials.
    """
    kinds = InstalledKinds()
    if source not in kinds.names:
        raise click.UsageError(
            f"there is no source {source!r}; installed are: {', '.join(kinds.names)}"
        )
    run_async(_record(place, name, source, url, paths, priority))
    tell(f"{name}: recorded; flowsync acs refresh {name} reads what it has")


async def _record(
    place: GlobalOptions, name: str, source: str, url: str, paths: Sequence[str], priority: int
) -> None:
    configuration = load(place)
    remote = described_remote(configuration.file, name, name, url)
    async with configuration.engine() as engine:
        try:
            await library.add_alternate_source(
                engine, name, source, remote, priority=priority, paths=paths
            )
        except DeclarationError as error:
            raise SettingsError(str(error)) from error


@command.command("refresh")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_json
@click.pass_obj
def _refresh(place: GlobalOptions, *, names: tuple[str, ...], as_json: bool) -> int:
    """Read what alternate sources have now, all of them unless NAMEs are given. No file is fetched,
    only metadata.
    """
    outcomes = run_async(_refresh_all(place, names))
    for name, outcome in outcomes:
        where = f"{name}: {outcome.path}" if outcome.path else name
        if outcome.error is not None:
            complain(f"{where}: {outcome.error}")
        if as_json:
            fields = {"name": name, **msgspec.structs.asdict(outcome)}
            tell_json(fields)
        elif outcome.error is None:
            changed = "" if outcome.changed else ", unchanged"
            tell(f"{where}: {outcome.units} units{changed}")
    return 1 if any(outcome.error for _, outcome in outcomes) else 0


async def _refresh_all(
    place: GlobalOptions, names: Sequence[str]
) -> list[tuple[str, RefreshedPath]]:
    configuration = load(place)
    async with configuration.engine() as engine:
        await register_alternates(engine, configuration.file)
        if names:
            sources = [await library.alternate_source(engine, name) for name in names]
        else:
            sources = await library.alternate_sources(engine)
        outcomes, kinds = [], InstalledKinds()
        for source in sources:
            kind = kinds.load(_kind_of(source))
            first_stage = alternate_first_stage(configuration.file, source.name, kind)
            refreshed = await library.refresh_alternate_source(engine, source.name, first_stage)
            outcomes += [(source.name, outcome) for outcome in refreshed]
    return outcomes


def _kind_of(source: AlternateSource) -> str:
    if source.kind is None:
        raise SettingsError(
            f"alternate source {source.name!r} was recorded by a program; only that can refresh it"
        )
    return source.kind


@command.command("list")
@_json
@click.pass_obj
def _list(place: GlobalOptions, *, as_json: bool) -> None:
    """List the alternate sources in the order in which they are tried."""
    for source in run_async(_sources(place)):
        if as_json:
            tell_json(_fields(source))
        else:
            tell(_as_text(source))


async def _sources(place: GlobalOptions) -> list[AlternateSource]:
    async with load(place).engine() as engine:
        return await library.alternate_sources(engine)


def _fields(source: AlternateSource) -> dict[str, object]:
    fields = msgspec.structs.asdict(source)
    del fields["url"]
    return {**fields, "kind": source.kind, "url": redact(source.url)}


def _as_text(source: AlternateSource) -> str:
    refreshed = source.last_refreshed
    when = (
        "never refreshed"
        if refreshed is None
        else f"refreshed {refreshed.astimezone():%Y-%m-%d %H:%M:%S}"
    )
    paths = f"  ({', '.join(source.paths)})" if source.paths else ""
    return f"{source.name}  priority {source.priority}  {redact(source.url)}{paths}  {when}"


@command.command("remove")
@click.argument("name")
@click.pass_obj
def _remove(place: GlobalOptions, *, name: str) -> None:
    """Forget alternate source NAME and what it listed. Bytes that came from it stay."""
    run_async(_forget(place, name))
    tell(f"{name}: removed")


async def _forget(place: GlobalOptions, name: str) -> None:
    async with load(place).engine() as engine:
        await library.remove_alternate_source(engine, name)
