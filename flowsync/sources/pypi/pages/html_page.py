"""Reads the few tags that pages of an index use: anchors, `<base>` and `<meta>`. Text in, tags out.

It is a scanner, which reads each character a bounded number of times whatever stands there; the
standard library's parser takes minutes for some pages of a few hundred kilobytes. A tag has at most
64 KiB. What has no end (a tag, a comment, a script) makes the page unusable: it may have been cut
off, and the files behind it would be missed.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from html import unescape
from typing import Final

import msgspec

LONGEST_TAG: Final = 64 * 1024
"""Characters of a tag, with its attributes."""

MOST_ATTRIBUTES: Final = 100

_SPACE: Final = r"[\t\n\f\r ]"
_ATTRIBUTE: Final = (
    rf"[^\t\n\f\r />=][^\t\n\f\r />=]*+"
    rf"(?:{_SPACE}*+={_SPACE}*+(?:\"[^\"]*+\"|'[^']*+'|(?![\"'])[^\t\n\f\r >]*+))?"
)
# Repeated groups are plain ones with a bound: of possessive ones, Python before 3.11.5 takes the
# wrong end.
_TAG: Final = re.compile(
    rf"<([A-Za-z][^\t\n\f\r />]*+)"
    rf"(?:[\t\n\f\r /]*+{_ATTRIBUTE}){{0,{MOST_ATTRIBUTES}}}[\t\n\f\r /]*+>"
)
_ATTRIBUTES: Final = re.compile(
    rf"([^\t\n\f\r />=][^\t\n\f\r />=]*+)"
    rf"(?:{_SPACE}*+={_SPACE}*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\t\n\f\r >]*+)))?"
)
_RAW: Final = ("script", "style", "textarea", "title")
_RAW_ENDS: Final = {name: re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE) for name in _RAW}
_READ: Final = frozenset({"a", "base", "meta"})
_LOOKED_AT: Final = "|".join(("a", "base", "meta", *_RAW))
_OF_NO_ACCOUNT: Final = re.compile(
    r"(?:[^<]++|<(?![A-Za-z!/?<])[^<]*+|</[^>]*+>"
    rf"|<(?!(?i:{_LOOKED_AT})[\t\n\f\r />])[A-Za-z][^\"'>]*+>"
    r"|<+(?=<)|<!--(?:-?>|(?s:.)*?-->)|<[!?](?!--)[^>]*+>){0,1000}"
)
"""Text, ends of tags, tags without quotes, comments and declarations, a thousand at a time."""


class HtmlError(ValueError):
    """A text is no page that can be read."""


class Tag(msgspec.Struct, frozen=True, gc=False):
    """A start tag: its name and its attributes, of which names are in lower case and values have no
    entities. `end` is where it ends.
    """

    name: str
    attributes: dict[str, str]
    end: int


def read_tags(text: str) -> Iterator[Tag]:
    """Yield the anchors, `<base>` and `<meta>` of a page. Raise `HtmlError` for one that cannot be
    read to its end.
    """
    skip, match_tag = _OF_NO_ACCOUNT.match, _TAG.match
    at, size = 0, len(text)
    while True:
        found = skip(text, at)
        begun, at = at, found.end() if found else at
        if at == size:
            return
        tag = match_tag(text, at, at + LONGEST_TAG)
        if tag is None:
            if at == begun:
                raise HtmlError(_endless(text, at))
            continue
        name = tag[1].lower()
        begin, at = tag.end(1), tag.end()
        if name in _READ:
            yield Tag(name, _attributes(text, begin, at - 1), at)
        elif name in _RAW_ENDS:
            end = _RAW_ENDS[name].search(text, at)
            if end is None:
                raise HtmlError(f"the <{name}> before character {at} has no end")
            at = end.start()


def text_behind(text: str, tag: Tag) -> str:
    """Return the text between a tag and the next one, without white space around it."""
    end = text.find("<", tag.end, tag.end + LONGEST_TAG)
    return _plain(text[tag.end : end]).strip() if end != -1 else ""


def decode(body: bytes, charset: str) -> str:
    """Return the text of a page. Without a charset it is UTF-8. Raise `HtmlError` when it is not in
    the charset, or that is not one of the usual ones.
    """
    codec = {
        "": "utf-8-sig",
        "utf-8": "utf-8-sig",
        "utf8": "utf-8-sig",
        "us-ascii": "ascii",
        "iso-8859-1": "cp1252",
        "windows-1252": "cp1252",
    }.get(charset.lower())
    if codec is None:
        raise HtmlError(f"its charset is {charset[:60]!r}; UTF-8 is read")
    try:
        return body.decode(codec)
    except UnicodeDecodeError as error:
        raise HtmlError(f"it is not in {charset or 'UTF-8'}: {error.reason}") from None


def _endless(text: str, at: int) -> str:
    shown = text[at : at + 60]
    if shown.startswith("<!--"):
        return f"the comment at character {at} has no end: {shown!r}"
    return (
        f"the tag at character {at} has no end within {LONGEST_TAG} characters and "
        f"{MOST_ATTRIBUTES} attributes: {shown!r}"
    )


def _attributes(text: str, begin: int, end: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTES.findall(text, begin, end):
        # The first of a name counts, as in browsers.
        found.setdefault(name.lower(), _plain(double or single or bare))
    return found


def _plain(value: str) -> str:
    if "&" not in value:
        return value
    return _short(value) if len(value) < 200 else _unescaped(value)


def _unescaped(value: str) -> str:
    try:
        return unescape(value)
    except (ValueError, OverflowError):
        raise HtmlError(f"an entity of {value[:60]!r} names no character") from None


_short = lru_cache(maxsize=1024)(_unescaped)
