"""Which hosts the environment's proxy is not for: what `NO_PROXY` says. Pure.

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

from flowsync.model.url import Origin

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
