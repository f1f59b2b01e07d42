"""`flowsync why`: what decided that a path is in a version, or is not."""

import click
from msgspec.structs import replace

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import describe_unit, one_line, tell, tell_json, visible_line
from flowsync.cli.settings import load
from flowsync.configuration import Configuration, UnusableSync
from flowsync.errors import SettingsError
from flowsync.library import Explanation, LeftOutNote, Presence, Removal


@click.command("why")
@click.argument("name")
@click.argument("path")
@click.option(
    "--version", "number", type=int, help="The version to look at; by default the latest."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(place: GlobalOptions, name: str, path: str, number: int | None, as_json: bool) -> int:
    """Say why repository NAME has PATH or lacks it: which version and run decided it, from where,
    or what failed.

    In place of PATH, the id of a unit without files is taken, as `flowsync show` tells it.

    Exit status: 0 when the version has the path, 1 when it lacks it.
    """
    found = run_async(_explain(place, name, path, number))
    if as_json:
        tell_json(found)
    else:
        tell("\n".join(_as_text(found)))
    return 0 if found.present else 1


async def _explain(place: GlobalOptions, name: str, path: str, number: int | None) -> Explanation:
    settings = load(place)
    async with settings.engine() as engine:
        found = await library.explain(engine, name, path, number)
    if found.present:
        return found
    return replace(found, rule=_rule_for(settings, name, path))


def _rule_for(settings: Configuration, name: str, path: str) -> str | None:
    """Return what keeps a path out of a repository of the settings, as far as its kind can tell."""
    try:
        (wanted,) = settings.wanted_syncs((name,))
    except SettingsError:
        return None
    if isinstance(wanted, UnusableSync) or wanted.source.rule_for is None:
        return None
    return wanted.source.rule_for(wanted.options, path)


def _as_text(found: Explanation) -> list[str]:
    where = f"version {found.version} of {found.repository}"
    if found.present:
        lines = [f"{where} has {visible_line(found.path)}"]
        for presence in found.present:
            lines += _present(presence)
    else:
        lines = [f"{where} does not have {visible_line(found.path)}"]
        lines += [] if found.removal is None else [_removed(found.removal)]
        lines += [] if found.rule is None else [f"  {one_line(found.rule)}"]
    lines += [] if found.failure is None else [_failed(found.failure)]
    return [*lines, f"  next: {_next_step(found)}"]


def _present(presence: Presence) -> list[str]:
    if presence.fields is not None:
        return [
            f"  added by version {presence.added}{_run(presence.run)}",
            *_listed(presence),
            f"  a unit without files: {describe_unit(presence.type, presence.fields)}",
        ]
    size = "?" if presence.size is None else presence.size
    bytes_are = "here" if presence.stored else "not here: on demand, or given up by reclaim"
    return [
        f"  added by version {presence.added}{_run(presence.run)}, {presence.type}",
        *_listed(presence),
        f"  {size} bytes, {bytes_are}",
        f"  sha256 {presence.sha256 or '?'}",
        *([f"  blake3 {presence.blake3}"] if presence.blake3 else []),
        *(
            f"  from {visible_line(origin.url)} (remote {origin.remote}, {origin.policy})"
            for origin in presence.origins
        ),
    ]


def _listed(presence: Presence) -> list[str]:
    line = "" if presence.line is None else f" in line {presence.line}"
    upstream = f" by {' and '.join(presence.read)}" if presence.read else ""
    return [f"  listed{line}{upstream}"] if line or upstream else []


def _removed(removal: Removal) -> str:
    if removal.rolled_back_to is not None:
        how = f", which was rolled back to version {removal.rolled_back_to}"
    else:
        upstream = " and ".join(removal.read) or "upstream"
        how = (
            f"{_run(removal.run)}: {upstream} did not list it any more, or another unit replaced it"
        )
    return f"  removed by version {removal.version}{how}"


def _failed(failure: LeftOutNote) -> str:
    since = f", {failure.runs_since} runs ago" if failure.runs_since else ", the last one"
    left_out = failure.left_out
    return f"  {left_out.action} by run {failure.run}{since}: {one_line(left_out.reason)}"


def _next_step(found: Explanation) -> str:
    if found.failure is not None and not found.failure.runs_since:
        return "sync again once that is mended; what was left out is tried again"
    if found.present:
        runs = [presence.run for presence in found.present if presence.run is not None]
        tell = [f"flowsync runs {found.repository} --id {run} tells all of the run" for run in runs]
        return "; ".join([*tell, f"flowsync export {found.repository} FOLDER writes the files"])
    if found.removal is not None:
        return (
            f"flowsync rollback {found.repository} {found.removal.version - 1} brings it back, "
            "until the next sync"
        )
    if found.rule is not None:
        return "change that option in the settings, and sync again"
    return "no recorded run was offered it: look at the spelling, and at what upstream lists"


def _run(number: int | None) -> str:
    return "" if number is None else f", run {number}"
