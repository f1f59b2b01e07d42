"""Where a request goes: the URL on the wire, where a redirect leads, and whether what proves who we are may go along. Pure.

1. At most ten redirects in a row; never from https to http; never to another scheme than http and https; never to a URL with a user in it.
2. What a remote says to prove who it is goes to the party of the remote's own URL: same scheme, host and port, or the same host over https after
   http on their usual ports. Once it is left behind it stays behind, also when a redirect leads back.
3. A URL goes over the wire as it was given. Only characters that no URL may hold are percent-encoded, so signed URLs survive.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from flowsync.model.transfer_errors import RedirectError, UnsupportedUrlError
from flowsync.model.url import Origin, holds_user, origin, redact

MAX_REDIRECTS: Final = 10

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_ILLEGAL: Final = re.compile(r"[^!#$%&'()*+,/0-9:;=?@A-Z\[\]_a-z~.-]")


class Hop(NamedTuple):
    """One request of a chain of redirects. `trusted` lets the remote's credentials go along, `first` the request's own."""

    url: str
    origin: Origin
    trusted: bool
    first: bool


def start(url: str, remote_url: str) -> Hop:
    """Return the first hop to `url` for a remote. Raise `UnsupportedUrlError` for a malformed URL, or one with a user in it."""
    if holds_user(url):
        raise UnsupportedUrlError(redact(url), "holds credentials; a remote has fields for them")
    try:
        target = origin(url)
        return Hop(_wire_form(url), target, _same_party(origin(remote_url), target), True)
    except ValueError as error:
        raise UnsupportedUrlError(redact(url), f"malformed: {error}") from None


def follow(hop: Hop, location: str | None) -> Hop:
    """Return the hop that a redirect leads to. Raise `RedirectError` when it is refused."""
    source = redact(hop.url)
    if not location:
        raise RedirectError(source, "redirects to nowhere")
    try:
        url = _wire_form(urljoin(hop.url, location))
        target = origin(url)
    except ValueError as error:
        raise RedirectError(source, f"redirects to a malformed URL: {error}") from None
    shown = redact(url)
    if target[0] not in {"http", "https"}:
        raise RedirectError(source, f"redirects to another scheme: {shown}")
    if hop.origin[0] == "https" and target[0] == "http":
        raise RedirectError(source, f"redirects from https to http: {shown}")
    if holds_user(url):
        raise RedirectError(source, f"redirects with credentials: {shown}")
    same = _same_party(hop.origin, target)
    return Hop(url, target, hop.trusted and same, hop.first and same)


def _same_party(first: Origin, second: Origin) -> bool:
    if first == second:
        return True
    return first == ("http", first[1], 80) and second == ("https", first[1], 443)


def _wire_form(url: str) -> str:
    url = url.partition("#")[0]
    if not url.isascii():
        url = _with_ascii_host(url)
    return quote(url, safe="%/:?#[]@!$&'()*+,;=~") if _ILLEGAL.search(url) else url


def _with_ascii_host(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc.isascii():
        return url
    host = (parts.hostname or "").encode("idna").decode("ascii")
    port = "" if parts.port is None else f":{parts.port}"
    return parts._replace(netloc=f"{host}{port}").geturl()
