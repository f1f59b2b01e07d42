"""What a request's target means: a repository, one of its versions, and a path in it. Text in,
values out.

    /                                   the repositories
    /NAME/PATH                          PATH in the newest version
    /NAME@3/PATH                        in version 3
    /NAME@2026-11-23T10:00:00Z/PATH     in the newest version that was begun up to then
    /-/WORD                             what the server says of itself

1. A path with a slash at its end, or none, means a folder.
2. Behind the repository an encoded slash is a slash. Then the segments `.` and `..` are removed as
   RFC 3986 (5.2.4) says, however they are encoded; what would leave the repository, or has an empty
   segment, leads nowhere.
3. What can be no path at all (broken percent signs, bytes that are not UTF-8, control characters)
   is a bad request.
4. What alternate sources list (names that begin with `acs:`) is recorded for syncs to fetch from,
   and is not for clients to read here.
5. A moment needs a time zone. In a URL, `+` may stand as it is.

Also here: the address of a version, and which bytes a `Range` asks for. They read and write one
grammar of addresses.
"""

import re
from datetime import datetime
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import msgspec

from flowsync.model.repository import HIDDEN

LONGEST_PATH: Final = 4096
"""Bytes of a target before its query, once decoded: more than the name of a repository and the path
of a version have together.
"""

LONGEST_LINE: Final = 32 * 1024
"""Bytes of a request line: a path, and as much again in the query of a folder, where each byte
takes three.
"""

_DOTS: Final = frozenset({".", ".."})
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_MOMENT: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})", re.ASCII
)


class BadTargetError(ValueError):
    """The target of a request cannot be understood."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A place below a repository; at the root of all, `repository` is empty. A folder's `path` is
    empty or ends with a slash.

    `bare` says that it is a folder and its target does not end with a slash; `found` is false for
    what no version can have (`NOWHERE`).
    """

    repository: str = ""
    number: int | None = None
    moment: datetime | None = None
    path: str = ""
    bare: bool = False
    found: bool = True

    @property
    def is_folder(self) -> bool:
        """Whether the path means a folder."""
        return not self.path or self.path.endswith("/")

    @property
    def is_own(self) -> bool:
        """Whether the place is one of the server's own."""
        return self.repository == "-"


NOWHERE: Final = Address(found=False)
"""A place that no version can have."""


def parse_target(target: str) -> tuple[Address, str]:
    """Return what the target of a request line means, and its query. Raise `BadTargetError` when it
    can mean nothing.
    """
    decoded = decoded_segments(target)
    while len(decoded) > 1 and decoded[0] in _DOTS:
        del decoded[0]
    first, *rest = decoded
    return _address("" if first in _DOTS else first, rest), query_of(target)


def query_of(target: str) -> str:
    """Return the query of a target, as it is written."""
    return target.partition("#")[0].partition("?")[2]


def decoded_segments(target: str) -> list[str]:
    """Return the segments of a target's path, each decoded by itself. Raise `BadTargetError` when
    one cannot be understood.
    """
    path = target.partition("#")[0].partition("?")[0]
    if not path.startswith("/"):
        path = _path_of_absolute_form(path)
    decoded = [_decoded(segment) for segment in path[1:].split("/")]
    if sum(len(segment.encode()) + 1 for segment in decoded) > LONGEST_PATH:
        raise BadTargetError(f"the path is longer than {LONGEST_PATH} bytes")
    return decoded


def with_slash(target: str) -> str:
    """Return how a target that means a folder, without a slash at its end, is asked for with one:
    relative to it, so below any prefix of a proxy.
    """
    last = target.partition("#")[0].partition("?")[0].rpartition("/")[2]
    return f"./{quote(_decoded(last).strip('/'), safe='/@:~+')}/"


def _path_of_absolute_form(target: str) -> str:
    scheme, colon, rest = target.partition("://")
    if not colon or scheme.lower() not in {"http", "https"}:
        raise BadTargetError("the target is no path")
    return f"/{rest.partition('/')[2]}"


def _decoded(segment: str) -> str:
    if _BROKEN_ESCAPE.search(segment):
        raise BadTargetError("a percent sign is not followed by two hexadecimal digits")
    try:
        text = unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode()
    except UnicodeError as error:
        raise BadTargetError("the path is not UTF-8") from error
    if _CONTROL.search(text):
        raise BadTargetError("the path contains a control character")
    return text


def _address(first: str, rest: list[str]) -> Address:
    if not first:
        return NOWHERE if rest else Address()
    segments = _without_dots([part for segment in rest for part in segment.split("/")])
    if "/" in first or segments is None or "" in segments[:-1]:
        return NOWHERE
    repository, at, selector = first.partition("@")
    number, moment = _version(selector) if at else (None, None)
    if (
        not repository
        or repository.startswith(HIDDEN)
        or (at and number is None and moment is None)
    ):
        return NOWHERE
    return Address(
        repository=repository,
        number=number,
        moment=moment,
        path="/".join(segments),
        bare=not segments or (segments[-1] == "" != rest[-1]),
    )


def _without_dots(segments: list[str]) -> list[str] | None:
    """Return the segments that are left when the dots are resolved, or `None` where they lead out
    of the repository.
    """
    if _DOTS.isdisjoint(segments):
        return segments
    left: list[str] = []
    for segment in segments:
        if segment == "..":
            if not left:
                return None
            left.pop()
        elif segment != ".":
            left.append(segment)
    if segments[-1] in _DOTS:
        left.append("")
    return left


def _version(selector: str) -> tuple[int | None, datetime | None]:
    if _NUMBER.fullmatch(selector):
        return int(selector), None
    if not _MOMENT.fullmatch(selector):
        return None, None
    try:
        return None, datetime.fromisoformat(selector)
    except ValueError:
        return None, None


# The address of a version as its client would write it, for pages that hold addresses. Text in,
# text out.
#
# What a server is called is set where it is started. Where it is not, it is what the client calls
# it: the `Host` of its request, if that can be one.

_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII
)


def version_url(url: str | None, host: str | None, address: Address) -> str | None:
    """Return the URL of the version that `address` means, with a slash at its end; `None` when
    nobody knows what the server is called.

    `url` is what it is called, with a slash at its end, and `host` the request's `Host`.
    """
    if url is None:
        if host is None or not _HOST.fullmatch(host.strip()):
            return None
        url = f"http://{host.strip().lower()}/"
    return f"{url}{quote(address.repository, safe='')}{_selector(address)}/"


def _selector(address: Address) -> str:
    if address.number is not None:
        return f"@{address.number}"
    if address.moment is not None:
        return f"@{quote(address.moment.isoformat(), safe=':+')}"
    return ""


# Which bytes of a body a `Range` header asks for (RFC 9110, section 14). Text in, a slice out.
#
# 1. One range of bytes is answered: from and to, from on, or the last so many. An end behind the
#    body's is the body's.
# 2. Several ranges at once are not answered as such: the whole body is, which the RFC allows and
#    every client understands.
# 3. Units other than bytes do not count.
# 4. A range that begins behind the body, or that cannot be understood, is refused with the size, so
#    that the client can do better.
# 5. Positions count as numbers, however many digits they have.

_RANGE: Final = re.compile(r"([0-9]*)\s*-\s*([0-9]*)", re.ASCII)

_DIGITS: Final = 20
"""Digits that tell all sizes apart: a number with more is larger than each of them."""


class UnsatisfiableRangeError(ValueError):
    """The range that is asked for lies outside of the body, or is none."""


class Slice(msgspec.Struct, frozen=True):
    """The `count` bytes of a body from `offset` on."""

    offset: int
    count: int

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.offset + self.count


def parse_range(header: str | None, size: int) -> Slice | None:
    """Return what is asked for of a body of `size` bytes; `None` means the whole. Raise
    `UnsatisfiableRangeError`.
    """
    unit, equals, wanted = (header or "").partition("=")
    if not equals or unit.strip().lower() != "bytes" or "," in wanted:
        return None
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or wanted.strip() == "-":
        raise UnsatisfiableRangeError
    first, last = _number(match[1]), _number(match[2])
    if first is None:
        return _from_on(max(0, size - last), size) if last else _refuse()
    if last is None:
        return _from_on(first, size)
    if last < first or first >= size:
        raise UnsatisfiableRangeError
    return Slice(first, min(last + 1, size) - first)


def content_range(part: Slice, size: int) -> str:
    """Return the value of `Content-Range` for a part of a body."""
    return f"bytes {part.offset}-{part.end - 1}/{size}"


def unsatisfied_range(size: int) -> str:
    """Return the value of `Content-Range` that tells the size to a client that asked for
    too much.
    """
    return f"bytes */{size}"


def _number(digits: str) -> int | None:
    if not digits:
        return None
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _DIGITS else 10**_DIGITS


def _from_on(offset: int, size: int) -> Slice:
    if offset >= size:
        raise UnsatisfiableRangeError
    return Slice(offset, size - offset)


def _refuse() -> Slice:
    raise UnsatisfiableRangeError
