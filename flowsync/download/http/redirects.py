"""Where a request goes: the URL on the wire, where a redirect leads, and whether what proves who we
are may go along. Pure.

1. At most ten redirects in a row; never from https to http; never to another scheme than http and
   https; never to a URL with a user in it; where a request demands it, never to another party than
   its own.
2. What a remote says to prove who it is goes to the party of the remote's own URL: same scheme,
   host and port, or the same host over https after http on their usual ports. Once it is left
   behind it stays behind, also when a redirect leads back.
3. A URL goes over the wire as it was given. Only characters that no URL may hold are
   percent-encoded, so signed URLs survive; bytes of a redirect that are no UTF-8 stay the same
   bytes. What is looked at is what goes over the wire: no two readings of one URL.

Also here: what a request says.
"""

import re
from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from flowsync.download.transfer.attempt import Tally
from flowsync.download.transfer.inflow import ENCODINGS
from flowsync.errors import RedirectError, UnsupportedUrlError
from flowsync.errors.error_tree import printable
from flowsync.model.remote import FetchRequest, Remote
from flowsync.model.url import Origin, holds_user, origin, redact

MAX_REDIRECTS: Final = 10

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_LONGEST_SHOWN: Final = 500
"""Characters of a redirect's target that an error shows."""

_ILLEGAL: Final = re.compile(r"[^!#$%&'()*+,/0-9:;=?@A-Z\[\]_a-z~.-]")


class Hop(NamedTuple):
    """One request of a chain of redirects. `trusted` lets the remote's credentials go along,
    `first` the request's own.

    `source` is what may be told of the URL that a redirect led to, or `None` before any.
    """

    url: str
    origin: Origin
    trusted: bool
    first: bool
    source: str | None = None


def start(url: str, remote_url: str) -> Hop:
    """Return the first hop to `url` for a remote. Raise `UnsupportedUrlError` for a malformed URL,
    or one with a user in it.
    """
    found = _look_at(url)
    if isinstance(found, str):
        raise UnsupportedUrlError(redact(url), found)
    sent, target = found
    if holds_user(url) or (sent is not url and holds_user(sent)):
        raise UnsupportedUrlError(redact(url), "holds credentials; a remote has fields for them")
    try:
        own = _own_origin(remote_url)
    except ValueError as error:
        raise UnsupportedUrlError(redact(remote_url), f"malformed: {error}") from None
    return Hop(sent, target, _same_party(own, target), True)


def follow(hop: Hop, location: str | None, *, same_party: bool = False) -> Hop:
    """Return the hop that a redirect leads to; with `same_party`, to no other party. Raise
    `RedirectError` when it is refused.
    """
    source = redact(hop.url)
    if not location:
        raise RedirectError(source, "redirects to nowhere")
    found = _look_at(location, hop.url)
    if isinstance(found, str):
        raise RedirectError(source, f"redirects to a URL that is {found}")
    url, target = found
    shown = printable(redact(url), _LONGEST_SHOWN)
    if target[0] not in {"http", "https"}:
        raise RedirectError(source, f"redirects to another scheme: {shown}")
    if hop.origin[0] == "https" and target[0] == "http":
        raise RedirectError(source, f"redirects from https to http: {shown}")
    if holds_user(url) or holds_user(location):
        raise RedirectError(source, f"redirects with credentials: {shown}")
    same = _same_party(hop.origin, target)
    if same_party and not same:
        raise RedirectError(source, f"redirects to another host, scheme or port: {shown}")
    return Hop(url, target, hop.trusted and same, hop.first and same, redact(url))


def _look_at(url: str, base: str = "") -> tuple[str, Origin] | str:
    """Return what goes over the wire for the URL, and whom it leads to; or what is wrong with it,
    without quoting it.
    """
    try:
        sent = _wire_form(urljoin(base, url) if base else url)
    except ValueError:
        return "malformed"
    try:
        return sent, origin(sent)
    except ValueError as error:
        return f"malformed: {error}"


# A remote's URL is looked at for each of its requests.
_own_origin = lru_cache(maxsize=256)(origin)


def _same_party(first: Origin, second: Origin) -> bool:
    if first == second:
        return True
    return first == ("http", first[1], 80) and second == ("https", first[1], 443)


def _wire_form(url: str) -> str:
    url = url.partition("#")[0]
    if not url.isascii():
        url = _with_ascii_host(url)
    if not _ILLEGAL.search(url):
        return url
    return quote(url, safe="%/:?#[]@!$&'()*+,;=~", errors="surrogateescape")


def _with_ascii_host(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc.isascii():
        return url
    host = (parts.hostname or "").encode("idna").decode("ascii")
    port = "" if parts.port is None else f":{parts.port}"
    return parts._replace(netloc=f"{host}{port}").geturl()


# What a request says: who we are, what the remote wants said, which bytes are wanted. Pure.
#
# The reasons stand in docs/decisions/0011.

Headers = list[tuple[str, str]]

_FOR_ALL: Final = frozenset({"accept", "accept-language", "cache-control", "pragma"})
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
# Ours to decide: they change what the bytes of the answer mean.
_OURS: Final = frozenset({"accept-encoding", "range", "if-range", "user-agent"})


def basic(username: str, password: str) -> str:
    """Return the value of an `Authorization` header for user and password."""
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode("ascii")


class Greeting:
    """What requests of one remote have in common. `to_all` goes to every host, `to_own` only to the
    remote's own.
    """

    __slots__ = ("to_all", "to_own")

    def __init__(self, product: str, remote: Remote) -> None:
        agents = [value for name, value in remote.headers if name.lower() == "user-agent"]
        shared = [pair for pair in remote.headers if pair[0].lower() in _FOR_ALL]
        kept = _without(remote.headers, _FOR_ALL | _OURS)
        self.to_all = [("User-Agent", ", ".join([product, *agents])), *shared]
        if "accept" not in {name.lower() for name, _ in shared}:
            self.to_all.append(("Accept", "*/*"))
        proof = _authorization(remote)
        if proof is not None:
            kept = [*_without(kept, {"authorization"}), ("Authorization", proof)]
        self.to_own = [*self.to_all, *kept]


def compose(greeting: Greeting, request: FetchRequest, hop: Hop, tally: Tally) -> Headers:
    """Return the headers of one request. The request's own replace the remote's of the same
    name.
    """
    headers = greeting.to_own if hop.trusted else greeting.to_all
    own = request.headers
    if own:
        refused = _OURS if hop.first else _OURS | _SECRET
        added = _without(own.items(), refused)
        headers = [*_without(headers, {name.lower() for name, _ in added}), *added]
    return [*headers, *_what(request, tally)]


def _what(request: FetchRequest, tally: Tally) -> Headers:
    if tally.resumable and tally.validator is not None:
        return [
            ("Accept-Encoding", "identity"),
            ("Range", f"bytes={tally.taken}-"),
            ("If-Range", tally.validator),
        ]
    wanted = [("Accept-Encoding", ENCODINGS if request.compressed else "identity")]
    known = request.validators
    if known is not None and known.etag is not None:
        wanted.append(("If-None-Match", known.etag))
    if known is not None and known.last_modified is not None:
        wanted.append(("If-Modified-Since", known.last_modified))
    return wanted


def _authorization(remote: Remote) -> str | None:
    if remote.token is not None:
        return f"Bearer {remote.token}"
    if remote.username is not None:
        return basic(remote.username, remote.password or "")
    return None


def _without(headers: Iterable[tuple[str, str]], names: Iterable[str]) -> Headers:
    dropped = frozenset(names)
    return [pair for pair in headers if pair[0].lower() not in dropped]
