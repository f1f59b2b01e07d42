"""Links of a page: where they lead from there, and which are never followed. Pure."""

import re
from typing import Final
from urllib.parse import quote, unquote, urljoin, urlsplit

_PLAIN: Final = re.compile(
    r"(https?)://[A-Za-z0-9.-]+(?::([0-9]{1,5}))?/[A-Za-z0-9._~/%+!,;=:&()*'-]*"
    r"(?:\?[A-Za-z0-9._~/%+!,;=:&()*'-]*)?"
)
_PLAIN_PATH: Final = re.compile(
    r"(/|(?:\.\./)*)([A-Za-z0-9_][A-Za-z0-9._~%+!,=&()*'-]*(?:/[A-Za-z0-9_][A-Za-z0-9._~%+!,=&()*'-]*)*)"
)
"""A path in which nothing but its beginning leads upwards."""

_HOSTLESS: Final = re.compile(r"https?:(?!//[^/?#])", re.IGNORECASE)
_UNSENDABLE: Final = re.compile(r"[\x00-\x20\x7f\\<>\"]")
_LONGEST: Final = 4096


class LinkError(ValueError):
    """A link is not followed."""


class Links:
    """Links of the page at `url`, which are relative to `base` if the page names one."""

    __slots__ = ("_above", "_base", "_secure")

    def __init__(self, url: str, base: str | None = None) -> None:
        try:
            # Who asked for the page is no part of where its files are.
            parts = urlsplit(url)
            plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
            self._base = urljoin(plain, base.strip()) if base else plain
        except ValueError:
            raise LinkError(f"the page's base {base!r} is no URL") from None
        self._secure = url[:6].lower() == "https:"
        self._above: dict[str, str] = {}

    def resolve(self, link: str) -> str:
        """Return the URL that a link leads to, without its fragment.

        Raise `LinkError` when that is not http or https, names a user, or leaves https.
        """
        target = link.strip("\t\n\f\r ").partition("#")[0]
        path = _PLAIN_PATH.fullmatch(target)
        if path and len(target) <= _LONGEST:
            return self._folder(path[1]) + path[2]
        plain = _PLAIN.fullmatch(target)
        if (
            plain
            and len(target) <= _LONGEST
            and (plain[1] == "https" or not self._secure)
            and (plain[2] is None or int(plain[2]) < 1 << 16)
        ):
            return target
        if not target or len(target) > _LONGEST:
            raise LinkError("the URL is empty" if not target else "the URL is too long")
        return self._resolve(target)

    def _folder(self, beginning: str) -> str:
        """Return the folder that a beginning such as `/` or `../../` leads to."""
        folder = self._above.get(beginning)
        if folder is None and len(beginning) < 100:
            folder = self._above[beginning] = self._resolve(f"{beginning}x")[:-1]
        return self._resolve(f"{beginning}x")[:-1] if folder is None else folder

    def _resolve(self, target: str) -> str:
        if _UNSENDABLE.search(target):
            raise LinkError("the URL holds white space, controls or other characters that none has")
        if _HOSTLESS.match(target):
            raise LinkError("the URL names no host")
        try:
            url = urljoin(self._base, target)
            parts = urlsplit(url)
            parts.port  # noqa: B018 - asking for it checks it
        except ValueError:
            raise LinkError("the URL is malformed") from None
        self._check(parts.scheme, parts.netloc, parts.hostname)
        return url if url.isascii() else quote(url, safe="/:?&=%+!,;@~*'()$[]")

    def _check(self, scheme: str, authority: str, host: str | None) -> None:
        if scheme not in {"http", "https"}:
            raise LinkError(f"its scheme is {scheme!r}, neither http nor https")
        if not host:
            raise LinkError("the URL names no host")
        if "@" in authority:
            raise LinkError("the URL names a user")
        if not authority.isascii():
            raise LinkError("the URL's host is not in ASCII")
        if self._secure and scheme == "http":
            raise LinkError("it leads from https to http")


def last_segment(url: str) -> str:
    """Return the last segment of a URL's path, decoded."""
    path = url.partition("#")[0].partition("?")[0]
    segment = path[path.rfind("/") + 1 :]
    return unquote(segment) if "%" in segment else segment


def host_of(url: str) -> str:
    """Return the host of a URL, in lower case."""
    return urlsplit(url).hostname or ""
