"""Numbers, units and messages as people read them.

Words of the command line and of the environment: text, as names, patterns and URLs are.

Arguments are bytes to the system. Those that are no UTF-8 can be a path and nothing else.
"""

from collections.abc import Mapping
from typing import Any, Final

import click
import msgspec

_LONGEST_UNIT: Final = 300


def format_bytes(count: float) -> str:
    """Return a number of bytes with the decimal unit that leaves one to three digits before the
    point.
    """
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if count < 999.5:
            break
        count, unit = count / 1000, larger
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def one_line(text: str) -> str:
    """Return the text as one line without anything that a terminal would obey: upstream's words may
    be in it.
    """
    return "".join(map(_shown, " ".join(text.split())))


def describe_unit(type_name: str, fields: Mapping[str, Any]) -> str:
    """Return a unit that has no path as its type and its fields, of long ones the beginning, in one
    line.
    """
    text = one_line(f"{type_name} {msgspec.json.encode(fields).decode()}")
    return text if len(text) <= _LONGEST_UNIT else f"{text[:_LONGEST_UNIT]}…"


def visible(text: str) -> str:
    """Return the text, of one line or several, without anything that a terminal would obey."""
    if text.isprintable():
        return text
    return "\n".join(
        line if line.isprintable() else "".join(map(_shown, line)) for line in text.split("\n")
    )


def visible_line(text: str) -> str:
    """Return the text as one line without anything that a terminal would obey, its blanks as they
    are.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    # How Python says a byte of a path or an argument that is no text.
    byte = ord(character) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else ascii(character)[1:-1]


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
