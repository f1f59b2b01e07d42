"""Which proxy a request goes through: the remote's own, else, where the remote asks for it, the
environment's.

Decisions: docs/decisions/0011.
"""

from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from flowsync.download.http.no_proxy import is_excepted
from flowsync.download.http.request_headers import basic
from flowsync.errors import UnsupportedUrlError
from flowsync.model.remote import Remote
from flowsync.model.url import Origin, origin, redact


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
