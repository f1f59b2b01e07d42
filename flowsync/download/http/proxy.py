"""Which proxy a request goes through: the remote's own, else, where the remote asks for it, the
environment's.

Decisions: docs/decisions/0011.

Which hosts the environment's proxy is not for: what `NO_PROXY` says. Pure.

Entries are divided by commas or blanks; case does not count. An entry is `*` for all; a name for
that host and all below it, with a dot before it or not; `*.name` for those below it only; an
address, also in brackets; a network in CIDR form; each of the first four with `:port` for that port
only. This is what curl, Go and Python's libraries take, where one of them takes it; an entry that
cannot be understood excepts nothing.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from flowsync.download.http.redirects import basic
from flowsync.errors import UnsupportedUrlError
from flowsync.model.remote import Remote
from flowsync.model.url import Origin, origin, redact

_Address = IPv4Address | IPv6Address


class _Entry(NamedTuple):
    host: str
    port: int | None


def is_excepted(target: Origin, entries: str) -> bool:
    """Say whether requests to `target` go past the proxy by the `entries` of `NO_PROXY`."""
    _, host, port = target
    host = host.rstrip(".")
    address = _address(host)
    return any(
        entry.port in {None, port} and _covers(entry.host, host, address)
        for entry in _parse(entries)
    )


@lru_cache(maxsize=16)
def _parse(entries: str) -> tuple[_Entry, ...]:
    return tuple(_entry(text) for text in re.split(r"[,\s]+", entries.lower()) if text)


def _entry(text: str) -> _Entry:
    bracketed = re.fullmatch(r"\[([^\]]*)\](/\d+)?(?::(\d{1,5}))?", text)
    if bracketed is not None:
        port = bracketed[3]
        return _Entry(bracketed[1] + (bracketed[2] or ""), None if port is None else int(port))
    # More than one colon without brackets is an address of IPv6.
    host, colon, port = text.partition(":")
    if colon and port.isascii() and port.isdigit() and len(port) <= 5:
        return _Entry(_ascii(host), int(port))
    return _Entry(_ascii(text), None)


def _covers(entry: str, host: str, address: _Address | None) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _in_network(entry, address)
    if address is not None:
        return _address(entry) == address
    if entry.startswith("*."):
        return host.endswith(entry[1:].rstrip("."))
    name = entry.strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _in_network(entry: str, address: _Address) -> bool:
    try:
        network = ip_network(entry, strict=False)
    except ValueError:
        return False
    return network.version == address.version and address in network


def _address(text: str) -> _Address | None:
    try:
        found = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def _ascii(host: str) -> str:
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


class Proxy(msgspec.Struct, frozen=True):
    """A proxy without credentials in its URL, and the `Proxy-Authorization` it gets."""

    url: str
    authorization: str | None


def choose(remote: Remote, target: Origin) -> Proxy | None:
    """Return the proxy for a request of `remote` to `target`, or `None` for a direct connection.

    Raise `UnsupportedUrlError` when the environment names a proxy that does not speak HTTP, or
    none.
    """
    if remote.proxy_url is not None:
        return Proxy(remote.proxy_url, _authorization(remote.proxy_username, remote.proxy_password))
    if not remote.trust_env:
        return None
    named = getproxies()
    found = named.get(target[0]) or named.get("all")
    # Without an environment, the settings of macOS and Windows count.
    excepted = is_excepted(target, named["no"]) if "no" in named else proxy_bypass(target[1])
    return _from_url(found) if found and not excepted else None


def _from_url(url: str) -> Proxy:
    whole = url if "://" in url else f"http://{url}"
    try:
        parts, _ = urlsplit(whole), origin(whole)
    except ValueError:
        raise UnsupportedUrlError(
            redact(whole), "malformed, as a proxy of the environment"
        ) from None
    if parts.scheme not in {"http", "https"}:
        raise UnsupportedUrlError(redact(url), "only http and https proxies are supported")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if parts.username is None:
        return Proxy(bare, None)
    return Proxy(bare, basic(unquote(parts.username), unquote(parts.password or "")))


def _authorization(username: str | None, password: str | None) -> str | None:
    return None if username is None else basic(username, password or "")
