r"""The way out: all that commands print goes through here.

1. Output that cannot be written (a reader that left, a full disk) is dropped and stops nothing. The
   first error is kept, and told when the command ends.
2. A terminal never obeys what upstream wrote: control characters and escape sequences come out as
   escapes such as `\x1b`. In JSON they are JSON's own escapes, so that a parser reads the same
   text.
3. A character that the encoding of the output has not is escaped too.

Also here: numbers and units for people, and words that are text.
"""

import errno
import io
import json
import select
import sys
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final, TextIO

import click
import msgspec

# Numbers, units and messages as people read them.

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


# Words of the command line and of the environment: text, as names, patterns and URLs are.
#
# Arguments are bytes to the system. Those that are no UTF-8 can be a path and nothing else.


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
    take only text, and no option an empty one. An environment variable that is empty counts as one
    that is not set.
    """
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.callback is None:
            parameter.callback = _not_empty
        if parameter.type is click.STRING:
            parameter.type = Word()
    if isinstance(command, click.Group):
        for below in command.commands.values():
            expect_text(below)


def _not_empty(_context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Return the value of an option. Fail with a usage error when it is an empty text or path: a
    variable of a script that was not set would choose a default in silence.
    """
    given = value if isinstance(value, tuple) else (value,)
    if any(isinstance(one, str | PurePath) and one in {"", PurePath()} for one in given):
        raise click.BadParameter("it is empty", param=parameter)
    return value


class Outlet(io.FileIO):
    """A descriptor to which every write succeeds.

    `lost` is the first error, after which nothing is written any more. `matters` says that the
    command does more than print: a reader that leaves does not end it, and is told of.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.lost: OSError | None = None
        self.matters = False

    @property
    def complaint(self) -> str | None:
        """What is to be said of lost output. A reader that has seen enough of a listing needs no
        word.
        """
        if self.lost is None or (self.lost.errno == errno.EPIPE and not self.matters):
            return None
        return f"not all output could be written: {self.lost.strerror}"

    def write(self, data: Any, /) -> int:
        """Write some of the bytes, or drop them all; return how many are dealt with."""
        if self.lost is None:
            try:
                return self._written(data)
            except OSError as error:
                self.lost = error
        return len(data)

    def _written(self, data: Any) -> int:
        # Another program may have made a descriptor that it shares with us non-blocking.
        while (count := super().write(data)) is None:
            ready = select.poll()
            ready.register(self.fileno(), select.POLLOUT)
            ready.poll()
        return count


def guard_output() -> Outlet:
    """Let `sys.stdout` and `sys.stderr` take whatever is written to them; return the outlet of
    stdout.
    """
    out, err = Outlet(1), Outlet(2)
    sys.stdout, sys.stderr = _text(out, sys.stdout), _text(err, sys.stderr)
    return out


def tell(text: str) -> None:
    """Print a result: one line, or several."""
    _write(sys.stdout, f"{visible(text)}\n")


def is_heard() -> bool:
    """Say whether a reader is left of what is printed; a long listing ends early when not."""
    outlet = _outlet()
    return outlet is None or outlet.lost is None


def go_on_unheard() -> None:
    """Take note that the command does more than print."""
    outlet = _outlet()
    if outlet is not None:
        outlet.matters = True


def tell_json(value: object) -> None:
    """Print a result as a JSON object in one line."""
    tell(json_text(value))


def complain(text: str) -> None:
    """Print one line about a failure on stderr."""
    note(complaint(text))


def note(text: str) -> None:
    """Print lines on stderr that are no result."""
    _write(sys.stderr, f"{visible(text)}\n")


def complaint(text: str) -> str:
    """Return the line that tells of a failure."""
    return f"flowsync: {one_line(text)}"


def json_text(value: object) -> str:
    """Return the value as JSON in one line that stdout can take as it is."""
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        # Bytes of a path that are no text: JSON can say them, UTF-8 cannot.
        return json.dumps(msgspec.to_builtins(value))
    if text.isprintable() and (text.isascii() or _takes_all(sys.stdout)):
        return text
    # What is not plain stands inside strings, where JSON has an escape for every character.
    takes_all = _takes_all(sys.stdout)
    return "".join(
        sign if sign.isprintable() and (takes_all or sign.isascii()) else json.dumps(sign)[1:-1]
        for sign in text
    )


def _outlet() -> Outlet | None:
    """Return what stands behind stdout, if it is guarded."""
    outlet = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return outlet if isinstance(outlet, Outlet) else None


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def _takes_all(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("_", "-") in {"utf-8", "utf8"}


def _text(outlet: Outlet, replaced: TextIO | None) -> TextIO:
    encoding = "utf-8" if replaced is None else replaced.encoding
    # Nothing was printed yet, or it comes first.
    if replaced is not None:
        replaced.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding=encoding,
        errors="backslashreplace",
        newline="\n",
        line_buffering=True,
    )
