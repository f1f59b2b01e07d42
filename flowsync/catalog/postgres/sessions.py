"""Sessions of the server: how each is set up, and those outside the pool, which are kept for the
next borrower because what costs is a new one.

1. Any number may be lent at once: what waits for a lock in one must not keep others from getting
   theirs.
2. What a borrower leaves in a session ends with the loan, however that ends: locks, settings and
   what is in temporary tables. A session that cannot be cleared is closed, and so is one within a
   transaction; then it ends when the server notices.
3. A kept one is lent when the server still answers over it, so a server that was restarted in
   between is not noticed. One that is not lent for a minute is closed.

Decisions: docs/decisions/0002.

Also here: what each session is asked for, where a database is, and what its server must be like.
All of it is asked once a session, in this order.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import AsyncConnection, ConnectionInfo
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from flowsync.errors import CatalogUnavailableError, SettingsError, UnfitDatabaseError

# What flowsync asks of every session, so that sessions are alike whatever server, database, user
# and environment say.
#
# 1. What texts and times look like, how transactions behave, and that no limit of time ends a
#    statement, a transaction or a session.
# 2. Client and server look after connections that are silent, so that a machine that vanished loses
#    its locks within half a minute.
# 3. What a user may want to choose is left to them: `search_path`, `synchronous_commit`, memory.

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


Connection = AsyncConnection[tuple[Any, ...]]
"""A connection in autocommit mode whose rows are tuples."""

_KEPT: Final = 8
"""Sessions kept at most, as many as the pool has by default."""

_IDLE: Final = 60.0
"""Seconds that a session is kept for."""

_LIFETIME: Final = 3600.0
"""Seconds after which a session is not kept any more, as in the pool: what a server's process
remembers of its catalogue only grows.
"""

_PREPARED_MAX: Final = 500
"""Prepared statements kept a connection: all of the catalog's, in the few variants that lists of
only NULLs make.
"""

_UNPREPARED_USES: Final = 2
"""Uses of a statement on a connection before the one that prepares it."""

_BEGIN: Final = b"SET plan_cache_mode = force_custom_plan; SET client_min_messages = warning;"
"""Begins a loan: what is prepared is planned for the repository at hand, and nothing is told of
tables that are there already.
"""

_CLEAR: Final = b"""
    SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;
    DISCARD SEQUENCES; SET LOCAL synchronous_commit = off;
"""
"""What `DISCARD ALL` does, but without waiting for the disk, and sparing what is prepared, and
temporary tables.
"""

DROP_TABLES: Final = b"DISCARD TEMP"
"""Ends a loan whose temporary tables are not wanted again."""


class _Kept(NamedTuple):
    """A session that is not lent. `ending` closes it."""

    connection: Connection
    born: float
    ending: asyncio.TimerHandle


class Sessions:
    """The sessions outside the pool of the database that is shown as `name`. `timeout` bounds
    connecting, `idle` how long one is kept, in seconds.
    """

    def __init__(self, conninfo: str, name: str, timeout: float, idle: float = _IDLE) -> None:
        self._conninfo = conninfo
        self._name = name
        self._timeout = timeout
        self._idle = idle
        self._kept: list[_Kept] = []
        self._closed = False

    @asynccontextmanager
    async def lent(
        self, beginning: bytes = b"", leaving: bytes = DROP_TABLES
    ) -> AsyncIterator[Connection]:
        """Lend a session until the block ends, in which the statements of `beginning` have been
        run. Raise `CatalogUnavailableError` when the server gives none.

        `leaving` ends it: a statement that leaves nothing in temporary tables.
        """
        statements = _BEGIN + beginning
        try:
            async with asyncio.timeout(self._timeout):
                connection, born = await self._kept_one(statements) or await self._new_one(
                    statements
                )
        except TimeoutError as error:
            raise CatalogUnavailableError(
                f"{self._name} did not answer within {self._timeout:g} s"
            ) from error
        except psycopg.Error as error:
            raise CatalogUnavailableError(f"{self._name}: {said(error)}") from error
        async with AsyncExitStack() as unless_kept:
            unless_kept.push_async_callback(connection.close)
            try:
                yield connection
            finally:
                if await self._keep(connection, born, leaving):
                    unless_kept.pop_all()

    async def close(self) -> None:
        """Close the sessions that are kept, and keep none any more."""
        self._closed = True
        while self._kept:
            kept = self._kept.pop()
            kept.ending.cancel()
            await kept.connection.close()

    async def _kept_one(self, beginning: bytes) -> tuple[Connection, float] | None:
        while self._kept:
            connection, born, ending = self._kept.pop()
            ending.cancel()
            with suppress(psycopg.OperationalError, psycopg.InternalError):
                await _begin_or_close(connection, beginning)
                return connection, born
        return None

    async def _new_one(self, beginning: bytes) -> tuple[Connection, float]:
        connection = await AsyncConnection.connect(self._conninfo, autocommit=True)
        _adapt(connection)
        await _begin_or_close(connection, beginning)
        return connection, time.monotonic()

    async def _keep(self, connection: Connection, born: float, leaving: bytes) -> bool:
        """Clear a session and keep it, if both can be; say whether it was kept. Its locks are free
        then, whatever becomes of it.
        """
        if connection.info.transaction_status is not TransactionStatus.IDLE:
            return False
        try:
            async with asyncio.timeout(self._timeout):
                await connection.execute(_CLEAR + leaving)
        except (TimeoutError, psycopg.Error):
            # How the loan went is said already.
            return False
        is_full = self._closed or len(self._kept) >= _KEPT
        if is_full or time.monotonic() - born > _LIFETIME:
            return False
        loop = asyncio.get_running_loop()
        kept = _Kept(connection, born, loop.call_later(self._idle, self._end_first))
        self._kept.append(kept)
        return True

    def _end_first(self) -> None:
        # The last kept is the first lent, so the first in the list is the one whose time is over.
        self._kept.pop(0).connection.pgconn.finish()


async def configure_pooled(connection: Connection) -> None:
    """Set a session of the pool up, whose statements are look-ups by key (`database.py`)."""
    _adapt(connection)
    await connection.execute(alike(connection.info.server_version) + b"SET enable_seqscan = off")


def _adapt(connection: Connection) -> None:
    """Send integers always as 8 bytes, so that one statement is prepared once."""
    connection.prepared_max = _PREPARED_MAX
    connection.prepare_threshold = _UNPREPARED_USES
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(int, Int8BinaryDumper)


async def _begin_or_close(connection: Connection, beginning: bytes) -> None:
    try:
        await connection.execute(alike(connection.info.server_version) + beginning)
    except BaseException:
        await connection.close()
        raise


def said(error: psycopg.Error) -> str:
    """Return what an error says, in one line."""
    return error.diag.message_primary or " ".join(str(error).split())


# Where a database is: a connection text, taken apart by the rules of libpq, and shown without any
# secret.
#
# 1. A text is a URL or `key=value`. It may name several servers.
# 2. A password that is not percent-encoded moves the borders of a URL, so that its parts pass for
#    host, port or database. A text in which that may have happened is refused, and nothing of it is
#    shown but its scheme.
# 3. Only servers and the database are ever shown.

_URL: Final = re.compile(r"(postgres(?:ql)?)://([^/]*)(.*)", re.DOTALL)
_ENCODE: Final = "in its user and password, percent-encode '@', '/', '#', '?' and '%'"


def parsed(conninfo: str) -> dict[str, Any]:
    """Return the parameters that the text gives. Raise `SettingsError`, which quotes nothing, when
    it cannot be understood.
    """
    try:
        settings = conninfo_to_dict(conninfo)
    except (psycopg.Error, ValueError):
        # libpq quotes the text in its complaint, and with it a password.
        raise SettingsError(f"{_subject(conninfo)} cannot be understood; {_ENCODE}") from None
    if _is_torn(conninfo, settings):
        raise SettingsError(f"{_subject(conninfo)} has a character in a wrong place; {_ENCODE}")
    return settings


def described(settings: Mapping[str, Any]) -> str:
    """Name database and servers in the words of a sentence."""
    servers = _servers(settings) or ["the default host"]
    database = settings.get("dbname") or settings.get("user")
    which = "the default database" if database is None else f"database {database!r}"
    return f"{which} at {', '.join(servers)}"


def shown(conninfo: str) -> str:
    """Return the text as a URL of servers and database alone; one that cannot be understood is its
    scheme alone.
    """
    try:
        settings = parsed(conninfo)
    except SettingsError:
        return f"{_scheme(conninfo)}://..."
    servers, database = ",".join(_servers(settings)), settings.get("dbname") or ""
    if servers.startswith(("/", "@")):
        return f"{_scheme(conninfo)}:///{database}?host={servers}"
    return f"{_scheme(conninfo)}://{servers}/{database}"


def _servers(settings: Mapping[str, Any]) -> list[str]:
    hosts = _listed(settings.get("host")) or _listed(settings.get("hostaddr"))
    ports = _listed(settings.get("port"))
    if len(ports) == 1:
        ports *= len(hosts)
    pairs = zip_longest(hosts, ports[: len(hosts)], fillvalue="")
    return [
        f"{host}:{port}" if port and not host.startswith(("/", "@")) else host
        for host, port in pairs
    ]


def _listed(value: object) -> list[str]:
    return str(value).split(",") if value else []


def _scheme(conninfo: str) -> str:
    match = _URL.match(conninfo)
    return match[1] if match else "postgresql"


def _subject(conninfo: str) -> str:
    is_url = _URL.match(conninfo) or "://" in conninfo.partition("=")[0]
    return "the database URL" if is_url else "the database's connection text"


def _is_torn(conninfo: str, settings: Mapping[str, Any]) -> bool:
    """Whether a part of a password may stand where a host, a port or a database stands."""
    if not all(port.isdecimal() for port in _listed(settings.get("port")) if port):
        return True
    if any(sign in str(settings.get("dbname", "")) for sign in ("://", "=")):
        # libpq would take it for a connection text of its own, or a server would quote it.
        return True
    match = _URL.match(conninfo)
    if match is None:
        return False
    _, authority, rest = match.groups()
    hosts = _listed(settings.get("host"))
    if any("@" in host[1:] for host in hosts if not host.startswith("/")):
        return True
    path = rest.partition("?")[0]
    return "@" in path or (":" in authority and "@" in rest)


# What a server and its database must be like, looked up in what the server tells of itself when a
# session begins: no question is asked.

_OLDEST: Final = 15
"""The oldest major version that the statements of the catalog are written for."""


def expect_fitting(info: ConnectionInfo, name: str) -> None:
    """Raise `UnfitDatabaseError` when the database `name` cannot hold a catalog,
    `CatalogUnavailableError` when it takes no writes now.
    """
    major = info.server_version // 10_000
    if major < _OLDEST:
        raise UnfitDatabaseError(
            f"{name}: the server is PostgreSQL {major}, flowsync needs {_OLDEST} or later"
        )
    encoding = info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UnfitDatabaseError(
            f"{name}: its encoding is {encoding}, which cannot hold every name; flowsync "
            "needs UTF8: "
            "CREATE DATABASE flowsync ENCODING 'UTF8' TEMPLATE template0"
        )
    if info.parameter_status("in_hot_standby") == "on":
        raise CatalogUnavailableError(
            f"{name}: the server is a standby and takes no writes; "
            "target_session_attrs=read-write chooses among several hosts"
        )
