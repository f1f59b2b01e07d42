"""Words of the command line and of the environment: text, as names, patterns and URLs are.

Arguments are bytes to the system. Those that are no UTF-8 can be a path and nothing else.
"""

from typing import Any

import click


class Word(click.ParamType[str]):
    """A text. An argument with bytes that are no UTF-8 is wrong usage."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text. Fail with a usage error, which does not show it: it may hold a
        password.
        """
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("it holds bytes that are no UTF-8", param, ctx)
        return text


def expect_text(command: click.Command) -> None:
    """Let every argument and option of a command that takes plain text, also of its sub-commands,
    take only text.
    """
    for parameter in command.params:
        if parameter.type is click.STRING:
            parameter.type = Word()
    if isinstance(command, click.Group):
        for below in command.commands.values():
            expect_text(below)
