"""`flowsync show`: the content of a version."""

from contextlib import aclosing

import click
import msgspec

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import describe_unit, format_bytes, is_heard, json_text, tell, visible_line
from flowsync.cli.settings import load
from flowsync.errors import VersionNotFoundError
from flowsync.library import BareUnit, VersionEntry


@click.command("show")
@click.argument("name")
@click.argument("number", type=int, required=False)
@click.option("--glob", "pattern", help="Only paths that match, such as '*.whl' or 'lib/*/index'.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a path.")
@click.pass_obj
def command(
    place: GlobalOptions, name: str, number: int | None, pattern: str | None, as_json: bool
) -> None:
    """Show what version NUMBER of repository NAME contains; by default the latest.

    Units without files come last, with their id in place of size and digest, type and fields in
    place of the path.
    """
    run_async(_show(place, name, number, pattern, as_json))


async def _show(
    place: GlobalOptions, name: str, number: int | None, pattern: str | None, as_json: bool
) -> None:
    async with load(place).engine() as engine:
        version = await library.version(engine, name, number)
        if number is None and version.number == 0:
            raise VersionNotFoundError(f"repository {name!r} has no complete version yet")
        paths = size = 0
        async with aclosing(library.entries(engine, name, version.number, pattern)) as batches:
            async for entries in batches:
                tell("\n".join(map(_as_json if as_json else _as_text, entries)))
                paths += len(entries)
                size += sum(entry.size or 0 for entry in entries)
                if not is_heard():
                    return
        bare = 0
        if pattern is None:
            async with aclosing(library.bare_units(engine, name, version.number)) as without_files:
                async for units in without_files:
                    tell("\n".join(map(_unit_as_json if as_json else _unit_as_text, units)))
                    bare += len(units)
                    if not is_heard():
                        return
    if not as_json:
        without = f" and {bare} units without files" if bare else ""
        tell(f"{paths} paths, {format_bytes(size)}{without} in version {version.number} of {name}")


def _as_text(entry: VersionEntry) -> str:
    size = "?" if entry.size is None else str(entry.size)
    digest = (entry.sha256 or "?")[:12]
    where = "" if entry.stored else "  (on demand)"
    return f"{size:>12}  {digest:<12}  {visible_line(entry.relative_path)}{where}"


def _as_json(entry: VersionEntry) -> str:
    fields = msgspec.to_builtins(entry)
    fields["content_id"] = entry.content_id.hex()
    return json_text(fields)


def _unit_as_text(unit: BareUnit) -> str:
    return f"{unit.content_id.hex()}  {describe_unit(unit.type, unit.fields)}"


def _unit_as_json(unit: BareUnit) -> str:
    nothing = dict.fromkeys(("relative_path", "sha256", "blake3", "size", "stored"))
    known = {"content_id": unit.content_id.hex(), "type": unit.type, "fields": unit.fields}
    return json_text({**known, **nothing})
