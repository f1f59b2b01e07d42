"""What a PostgreSQL client says, read from its bytes: which statements it has carried out, and how
often it waits for an answer.

1. A statement counts when it is executed, a simple query when it is sent. Getting one prepared is
   counted apart, because it happens once a connection, and how many connections a pool opens is up
   to chance. So is what a client says about its session on a new connection.
2. A statement of the catalog goes by its name, any other by its first word.
3. The client waits for the server after each Sync, simple query and end of a COPY.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Final

from flowsync.catalog.postgres.database import statement, statement_names

PREPARING: Final = "(preparing)"
SESSION: Final = "(session)"

_HEAD: Final = 5
_PLACE: Final = re.compile(rb"%\(\w+\)[sbt]|\$\d+")
_SETTINGS: Final = (b"SELECT set_config", b"SET ")


class Tally:
    """What was counted: executions by statement, and waits for an answer, those for preparations
    and settings left out.
    """

    def __init__(self) -> None:
        self.statements: Counter[str] = Counter()
        self.round_trips = 0

    def since(self, earlier: "Tally") -> "Tally":
        """Return what was counted after `earlier` was copied from here."""
        found = Tally()
        found.statements = self.statements - earlier.statements
        found.round_trips = self.round_trips - earlier.round_trips
        return found

    def copy(self) -> "Tally":
        return self.since(Tally())


class Frontend:
    """One connection, from its first byte on."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._buffer = b""
        self._started = False
        self._names: dict[bytes, str] = {}
        self._bound = ""
        self._uncounted_sync = False

    def feed(self, data: bytes) -> None:
        """Count what the bytes complete."""
        self._buffer += data
        for kind, body in self._messages():
            self._count(kind, body)

    def _messages(self) -> Iterator[tuple[bytes, bytes]]:
        if not self._started:
            # The first message has no type.
            length = int.from_bytes(self._buffer[:4], "big")
            if len(self._buffer) < max(4, length):
                return
            self._buffer = self._buffer[length:]
            self._started = True
        at = 0
        while len(self._buffer) - at >= _HEAD:
            end = at + 1 + int.from_bytes(self._buffer[at + 1 : at + _HEAD], "big")
            if len(self._buffer) < end:
                break
            yield self._buffer[at : at + 1], self._buffer[at + _HEAD : end]
            at = end
        self._buffer = self._buffer[at:]

    def _count(self, kind: bytes, body: bytes) -> None:
        tally = self._tally
        match kind:
            case b"P":
                name, text, _ = body.split(b"\0", 2)
                self._names[name] = label(text)
                self._uncounted_sync = name != b""
                tally.statements[PREPARING] += name != b""
            case b"B":
                _, name, _ = body.split(b"\0", 2)
                self._bound = self._names[name]
                self._uncounted_sync = self._bound == SESSION
            case b"E":
                tally.statements[self._bound] += 1
            case b"Q":
                said = label(body.rstrip(b"\0"))
                tally.statements[said] += 1
                tally.round_trips += said != SESSION
            case b"S":
                tally.round_trips += not self._uncounted_sync
                self._uncounted_sync = False
            case b"c":
                tally.round_trips += 1


def label(sql: bytes) -> str:
    """Return what a statement goes by."""
    if sql.startswith(_SETTINGS):
        return SESSION
    return _catalog().get(_shape(sql)) or sql.split(None, 1)[0].decode().upper()


@cache
def _catalog() -> dict[bytes, str]:
    return {_shape(statement(name)): name for name in statement_names()}


@cache
def _shape(sql: bytes) -> bytes:
    """Return a statement without the numbers and formats of its parameters."""
    return b" ".join(_PLACE.sub(b"?", sql).replace(b"%%", b"%").split())
