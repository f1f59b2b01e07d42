"""Numbers, URLs and messages as people read them."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

_LONGEST_UNIT: Final = 300


def format_bytes(count: float) -> str:
    """Return a number of bytes with the decimal unit that leaves one to three digits before the point."""
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if count < 999.5:
            break
        count, unit = count / 1000, larger
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def one_line(text: str) -> str:
    """Return the text as one line without anything that a terminal would obey: upstream's words may be in it."""
    return "".join(map(_shown, " ".join(text.split())))


def describe_unit(type_name: str, fields: Mapping[str, Any]) -> str:
    """Return a unit that has no path as its type and its fields, of long ones the beginning, in one
    line.
    """
    text = one_line(f"{type_name} {msgspec.json.encode(fields).decode()}")
    return text if len(text) <= _LONGEST_UNIT else f"{text[:_LONGEST_UNIT]}…"


def without_password(conninfo: str) -> str:
    """Return a database URL without user, password and parameters; any other text that holds a connection is not shown at all."""
    parts = urlsplit(conninfo)
    if not parts.hostname:
        return "set (not shown)"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def _shown(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]
