"""`flowsync sources`: the installed kinds of source, and the options of one."""

import click
import msgspec

from flowsync.cli.output import json_text, one_line, tell, tell_json
from flowsync.configuration import InstalledKinds, KindOption, options_of
from flowsync.kinds import SourceKind


@click.command("sources")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a source.")
def command(name: str | None, as_json: bool) -> None:
    """List the installed kinds of source, or the options of source NAME.

    Options are fields of a repository in flowsync.toml, beside flowsync's own, or
    --set OPTION=VALUE of `flowsync sync`.
    """
    kinds = InstalledKinds()
    if name is not None:
        kind = kinds.load(name)
        if as_json:
            tell_json(_as_fields(name, kind))
        else:
            tell(_as_text(name, kind))
        return
    usable, unusable = kinds.usable, kinds.unusable
    for each in kinds.names:
        if as_json and each in usable:
            tell_json(_as_fields(each, usable[each]))
        elif as_json:
            tell_json({"name": each, "error": unusable[each]})
        else:
            about = usable[each].summary if each in usable else unusable[each]
            tell(f"{each}  {one_line(about)}")


def _as_fields(name: str, kind: SourceKind) -> dict[str, object]:
    options = [msgspec.structs.asdict(option) for option in options_of(kind)]
    return {"name": name, "summary": kind.summary, "options": options}


def _as_text(name: str, kind: SourceKind) -> str:
    options = options_of(kind)
    lines = [f"{name}: {one_line(kind.summary)}"]
    if not options:
        lines.append("  it has no options")
    for option in options:
        lines.append(f"  {option.name}: {option.type}; {_default(option)}")
        if option.help:
            lines.append(f"    {one_line(option.help)}")
    return "\n".join(lines)


def _default(option: KindOption) -> str:
    return "required" if option.required else f"default {json_text(option.default)}"
