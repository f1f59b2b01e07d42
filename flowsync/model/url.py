"""URLs as text: how they may be shown, and whom they lead to.

Decisions: docs/decisions/0005.
"""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

Origin = tuple[str, str, int]
"""Scheme, host and port, all in lower case: the party that a URL leads to."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "file": 0}

_HIDDEN: Final = "***"
_NOTHING_TO_HIDE: Final = re.compile(r"[^@?#]*")
# Behind a colon, an address of IPv6, perhaps with a zone.
_HOST: Final = re.compile(r"[a-z0-9._~!$&'()*+,;=-]*|[0-9a-f:.]+(%[a-z0-9._~%-]+)?")
_AUTHORITY_END: Final = re.compile(r"[/?#\\]")


def scheme(url: str) -> str:
    """Return the scheme in lower case, or an empty string when there is none."""
    found, separator, _ = url.partition("://")
    return found.lower() if separator else ""


def redact(url: str) -> str:
    """Return the URL without what may be secret: user and password, values of query parameters,
    fragment.
    """
    if not url.isprintable():
        url = "".join(map(_shown, url))
    if _NOTHING_TO_HIDE.fullmatch(url):
        return url
    if scheme(url) == "file":
        return _without_user(url)
    rest, question, query = url.partition("#")[0].partition("?")
    shown = "&".join(map(_hide_value, query.split("&"))) if query else ""
    return f"{_without_user(rest)}{question}{shown}"


def holds_user(url: str) -> bool:
    """Say whether the URL holds a user or a password."""
    return "@" in url and _without_user(url) != url


def origin(url: str) -> Origin:
    """Return whom the URL leads to, the host in ASCII.

    Raise `ValueError` for a URL without host, or with a host or a port that is none; its text holds
    nothing of the URL.
    """
    found, separator, rest = url.partition("://")
    if not separator:
        raise ValueError("no scheme")
    return _origin(found.lower(), _AUTHORITY_END.split(rest, maxsplit=1)[0])


@lru_cache(maxsize=1024)
def _origin(found: str, authority: str) -> Origin:
    host, port = _host_and_port(f"{found}://{authority}")
    if not host and found != "file":
        raise ValueError("no host")
    return found, host, DEFAULT_PORTS.get(found, 0) if port is None else port


def _host_and_port(url: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        # Where labels are empty or too long, names in ASCII are refused by this codec, too.
        host = host if ":" in host else host.encode("idna").decode("ascii")
    except ValueError:
        raise ValueError("the host is malformed") from None
    if not _HOST.fullmatch(host):
        raise ValueError("the host is malformed")
    try:
        return host, parts.port
    except ValueError:
        raise ValueError("the port is not a number from 0 to 65535") from None


def _without_user(url: str) -> str:
    found, separator, rest = url.partition("://")
    if not separator:
        return url.rpartition("@")[2]
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    return f"{found}://{authority.rpartition('@')[2]}{rest[len(authority) :]}"


def _hide_value(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    if not equals:
        return _HIDDEN if name else ""
    return f"{name}={_HIDDEN}" if value else parameter


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    try:
        raw = character.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raw = character.encode(errors="surrogatepass")
    return "".join(f"%{byte:02X}" for byte in raw)


# What may stand in a header line that is sent. Names are tokens; values hold no control characters
# (RFC 9110, 5.5).

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")


def why_unsendable(name: str, value: str) -> str | None:
    """Return why the header cannot be sent, or `None` when it can. The value is not in the text: it
    may be secret.
    """
    if not _NAME.fullmatch(name):
        return f"{name!r} cannot be the name of a header"
    if not _VALUE.fullmatch(value):
        return f"the value of header {name!r} holds control characters or a lone surrogate"
    return None
