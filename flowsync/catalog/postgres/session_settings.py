"""What flowsync asks of every session, so that sessions are alike whatever server, database, user
and environment say.

1. What texts and times look like, how transactions behave, and that no limit of time ends a
   statement, a transaction or a session.
2. Client and server look after connections that are silent, so that a machine that vanished loses
   its locks within half a minute.
3. What a user may want to choose is left to them: `search_path`, `synchronous_commit`, memory.
"""

from typing import Final

_SILENT: Final = 15
_PAUSE: Final = 5
_TRIES: Final = 3
"""Seconds of silence before a connection is tried, seconds between two tries, and tries."""

_UNHEARD: Final = (_SILENT + _PAUSE * _TRIES) * 1000
"""Milliseconds after which what was sent and not acknowledged ends a connection."""

ASKED: Final = {
    "fallback_application_name": "flowsync",
    "keepalives": "1",
    "keepalives_idle": str(_SILENT),
    "keepalives_interval": str(_PAUSE),
    "keepalives_count": str(_TRIES),
    "tcp_user_timeout": str(_UNHEARD),
}
"""Parameters of a connection, where the connection text has none of its own."""

_SETTINGS: Final = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "jit": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": str(_SILENT),
    "tcp_keepalives_interval": str(_PAUSE),
    "tcp_keepalives_count": str(_TRIES),
    "tcp_user_timeout": str(_UNHEARD),
}
"""Those of TCP change nothing on a local socket."""

_SINCE_17: Final = {"transaction_timeout": "0"}


def _statements(settings: dict[str, str]) -> bytes:
    return "".join(f"SET {name} = '{value}';" for name, value in settings.items()).encode()


_ALIKE: Final = _statements(_SETTINGS)
_ALIKE_SINCE_17: Final = _statements(_SETTINGS | _SINCE_17)


def alike(server_version: int) -> bytes:
    """Return the statements that make a session of a server like all others."""
    return _ALIKE_SINCE_17 if server_version >= 170_000 else _ALIKE
