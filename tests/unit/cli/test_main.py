import re
from pathlib import Path

import click

from flowsync.cli.main import cli

README = Path(__file__).parents[3] / "README.md"


def options_of(command: click.Command) -> set[str]:
    own = {name for parameter in command.params for name in parameter.opts}
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return own.union(*map(options_of, below))


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    return {
        name: command
        for name in cli.list_commands(context)
        if (command := cli.get_command(context, name)) is not None
    }


def test_every_option_that_the_readme_names_exists() -> None:
    known = set.union(options_of(cli), *map(options_of, commands().values()))

    # What stands in ARGS="…" goes to a bench or to pytest, not to flowsync.
    text = re.sub(r'ARGS="[^"]*"', "", README.read_text())
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))

    assert named - known == set()
    assert "--mirror" in named


def test_every_command_stands_in_the_readme() -> None:
    text = README.read_text()

    assert [
        name
        for name in commands()
        if f"| `flowsync {name} " not in text and f"| `flowsync {name}`" not in text
    ] == []


def test_an_unknown_command_is_none() -> None:
    assert cli.get_command(click.Context(cli), "frobnicate") is None
