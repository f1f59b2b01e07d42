"""`flowsync diff`: what two versions of a repository differ in."""

from collections import Counter
from contextlib import aclosing

import click
import msgspec

from flowsync import library
from flowsync.cli.interruption import run_async
from flowsync.cli.main import GlobalOptions
from flowsync.cli.output import describe_unit, is_heard, json_text, tell, visible_line
from flowsync.cli.settings import load
from flowsync.library import BareChange, Change, VersionEntry

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@click.command("diff")
@click.argument("name")
@click.argument("a", type=int)
@click.argument("b", type=int)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a path.")
@click.pass_obj
def command(place: GlobalOptions, name: str, a: int, b: int, as_json: bool) -> None:
    """Show what leads from version A of repository NAME to version B: + added, - removed, ~ changed
    paths.

    Units without files come last, with type and fields.
    """
    run_async(_diff(place, name, a, b, as_json))


async def _diff(place: GlobalOptions, name: str, a: int, b: int, as_json: bool) -> None:
    counts: Counter[str] = Counter()
    async with load(place).engine() as engine:
        async with aclosing(library.difference(engine, name, a, b)) as batches:
            async for changes in batches:
                counts.update(change.kind for change in changes)
                tell("\n".join(map(_as_json if as_json else _as_text, changes)))
                if not is_heard():
                    return
        async with aclosing(library.bare_difference(engine, name, a, b)) as without_files:
            async for bare in without_files:
                counts.update(change.kind for change in bare)
                tell("\n".join(map(_bare_as_json if as_json else _bare_as_text, bare)))
                if not is_heard():
                    return
    if not as_json:
        tell(
            f"{counts['added']} added, {counts['removed']} removed, {counts['changed']} changed "
            f"from version {a} to {b} of {name}"
        )


def _as_text(change: Change) -> str:
    return f"{_SIGNS[change.kind]} {visible_line(change.relative_path)}"


def _as_json(change: Change) -> str:
    return json_text(
        {
            "kind": change.kind,
            "relative_path": change.relative_path,
            "before": _facts(change.before),
            "after": _facts(change.after),
        }
    )


def _bare_as_text(change: BareChange) -> str:
    return f"{_SIGNS[change.kind]} {describe_unit(change.unit.type, change.unit.fields)}"


def _bare_as_json(change: BareChange) -> str:
    unit = msgspec.to_builtins(change.unit)
    unit["content_id"] = change.unit.content_id.hex()
    sides = {"before": None, "after": None}
    side = "after" if change.kind == "added" else "before"
    return json_text({"kind": change.kind, "relative_path": None, **sides, side: unit})


def _facts(entry: VersionEntry | None) -> dict[str, object] | None:
    if entry is None:
        return None
    return {"sha256": entry.sha256, "size": entry.size, "stored": entry.stored}
