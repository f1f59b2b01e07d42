"""What the head of an answer says, as text that every part may keep. Pure; the only way in for it.

1. A name is in lower case; a value is printable. Bytes that are no UTF-8 are read as Latin-1, as
   HTTP once had it; what cannot be shown is replaced.
2. A header that comes several times counts once where the values are equal; others are joined with
   commas (RFC 9110, 5.3).
3. Where a redirect leads is kept as it came: it is encoded for the wire, byte for byte, and never
   shown as it is. Several places are none.
"""

from collections.abc import Collection
from typing import Final, NamedTuple

from flowsync.errors.printable import printable

LONGEST_REASON: Final = 200
"""Characters of a status line's phrase, which is shown in errors."""


class Head(NamedTuple):
    """Status, phrase and headers of an answer.

    `location` may hold surrogates, which stand for bytes that are no UTF-8.
    """

    status: int
    reason: str
    headers: dict[str, str]
    location: str | None


def read_head(status: int, reason: str, lines: Collection[tuple[str, str]]) -> Head:
    """Return what a head says.

    `lines` are its headers as the client decodes them, with surrogates for bytes that are no UTF-8.
    """
    reason = clean(reason)[:LONGEST_REASON]
    headers = {name.lower(): value for name, value in lines}
    # Nearly every head is clean and says everything once.
    text = "".join([*headers, *headers.values()])
    if len(headers) == len(lines) and text.isprintable():
        return Head(status, reason, headers, headers.get("location"))
    said: dict[str, dict[str, None]] = {}
    places: dict[str, None] = {}
    for name, value in lines:
        key = clean(name.lower())
        said.setdefault(key, {})[clean(value)] = None
        if key == "location":
            places[value] = None
    location = next(iter(places)) if len(places) == 1 else None
    return Head(status, reason, {key: ", ".join(said[key]) for key in said}, location)


def clean(text: str) -> str:
    """Return text of a head without what cannot be shown."""
    if not text.isprintable():
        raw = text.encode(errors="surrogateescape")
        if not text.isascii() and _is_foreign(raw):
            text = raw.decode("latin-1")
    return printable(text)


def _is_foreign(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return True
    return False
