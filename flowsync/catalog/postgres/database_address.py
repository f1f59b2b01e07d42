"""Where a database is: a connection text, taken apart by the rules of libpq, and shown without any
secret.

1. A text is a URL or `key=value`. It may name several servers.
2. A password that is not percent-encoded moves the borders of a URL, so that its parts pass for
   host, port or database. A text in which that may have happened is refused, and nothing of it is
   shown but its scheme.
3. Only servers and the database are ever shown.

What a server and its database must be like, looked up in what the server tells of itself when a
session begins: no question is asked.
"""

import re
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, Final

import psycopg
from psycopg import ConnectionInfo
from psycopg.conninfo import conninfo_to_dict

from flowsync.errors import CatalogUnavailableError, SettingsError, UnfitDatabaseError

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
