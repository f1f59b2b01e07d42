"""What is asked and what is answered, as values: the wall between the decisions and the HTTP
server.

A body is bytes, or a part of an open file, which goes out without passing through this process's
memory, or a flow that comes piece by piece. Who sends the answer closes the file or the flow, in
any case.

Also here: conditions, what caches may keep, codings, and what of a file is sent. Each takes the
same offer and narrows it.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from mimetypes import MimeTypes
from typing import BinaryIO, Final, Literal

import msgspec

from flowsync.serve.http.request import (
    Address,
    Slice,
    UnsatisfiableRangeError,
    content_range,
    parse_range,
    unsatisfied_range,
)


class Asked(msgspec.Struct, frozen=True):
    """A request: method and target as in its first line, and its headers, whose names compare in
    any case.

    `chunks` says that its client understands chunks: only these show whether a body whose length
    nobody knew is whole.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    chunks: bool = True


class OpenPart(msgspec.Struct, frozen=True):
    """A part of an open file."""

    file: BinaryIO
    part: Slice


class Unreadable(msgspec.Struct, frozen=True):
    """Why a part of a file cannot be had; `there` says that something stands under its name."""

    reason: str
    there: bool


class Flow(msgspec.Struct, frozen=True):
    """A body that comes piece by piece. `leave` is due in any case, also when no piece was ever
    asked for.
    """

    pieces: AsyncGenerator[bytes, None]
    leave: Callable[[], Awaitable[None]]


Body = bytes | OpenPart | Flow


class Answer(msgspec.Struct, kw_only=True):
    """A status, headers, and a body; `length` is what `Content-Length` says, `None` while nobody
    knows.

    Without a body the length is that of the body which a HEAD request does not get. When an open
    part, or a flow from the store, cannot be read to its end, `rest` gives the bytes from an offset
    of the file on. A refusal that `is_worded` is in the words of a kind of source.
    """

    status: int = 200
    headers: dict[str, str] = {}
    body: Body = b""
    length: int | None = 0
    rest: Callable[[int], Awaitable["Flow"]] | None = None
    is_worded: bool = False


def plain(status: int, text: str, **headers: str) -> Answer:
    """Return an answer that says one line. In names of headers, `_` stands for `-`."""
    body = f"{text}\n".encode()
    return Answer(
        status=status,
        headers={
            "Content-Type": "text/plain; charset=utf-8",
            "Cache-Control": "no-store",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
        body=body,
        length=len(body),
    )


# What the conditions of a request come to (RFC 9110, section 13). Headers and validators in, a
# verdict out.
#
# 1. The order is that of the RFC: `If-Match`, or without it `If-Unmodified-Since`; then
#    `If-None-Match`, or without it `If-Modified-Since`.
# 2. Entity tags are strong, because they are digests of the bytes. `If-None-Match` compares weakly,
#    so that the tag of a proxy that compressed the body still matches; `If-Match` and `If-Range`
#    compare strongly.
# 3. A date that cannot be understood is no condition; nor, with `If-Range`, does it match.

Verdict = Literal["go on", "not modified", "failed"]

_TAG: Final = re.compile(r'(W/)?"([^"]*)"')


class Representation(msgspec.Struct, frozen=True):
    """What tells a body from the one that was there before: its digest, if it is known, and since
    when it is there.
    """

    digest: str | None
    since: datetime

    @property
    def etag(self) -> str | None:
        """The value of the header `ETag`."""
        return None if self.digest is None else f'"{self.digest}"'

    @property
    def last_modified(self) -> str:
        """The value of the header `Last-Modified`."""
        return format_datetime(self.since.astimezone(UTC), usegmt=True)


def evaluate(headers: Mapping[str, str], now: Representation) -> Verdict:
    """Say what the conditions in the headers of a GET or HEAD come to."""
    if "If-Match" in headers:
        if not _matches(headers["If-Match"], now.digest, weak=False):
            return "failed"
    elif (date := _date(headers.get("If-Unmodified-Since"))) and _seconds(now.since) > date:
        return "failed"
    if "If-None-Match" in headers:
        known = _matches(headers["If-None-Match"], now.digest, weak=True)
        return "not modified" if known else "go on"
    date = _date(headers.get("If-Modified-Since"))
    return "not modified" if date and _seconds(now.since) <= date else "go on"


def is_known(header: str | None, digest: str) -> bool:
    """Say whether an `If-None-Match` names the digest."""
    return header is not None and _matches(header, digest, weak=True)


def range_counts(headers: Mapping[str, str], now: Representation) -> bool:
    """Say whether a `Range` of the request is meant for the body that is there now."""
    condition = headers.get("If-Range")
    if condition is None:
        return True
    if '"' in condition:
        tag = _TAG.fullmatch(condition.strip())
        return tag is not None and not tag[1] and tag[2] == now.digest
    return _date(condition) == _seconds(now.since)


def _matches(header: str, digest: str | None, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    return digest is not None and any(
        tag == digest and (weak or not weakly) for weakly, tag in _TAG.findall(header)
    )


def _date(header: str | None) -> datetime | None:
    # Of two dates, as from a field that came twice, neither counts.
    if header is None or header.count(",") > 1:
        return None
    try:
        date = parsedate_to_datetime(header)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _seconds(moment: datetime) -> datetime:
    """Dates in headers have no fractions."""
    return moment.astimezone(UTC).replace(microsecond=0)


# How long what is served may be kept, and what it is: the headers that depend on the address alone.
#
# The reasons stand in docs/decisions/0016.

REVALIDATE: Final = "public, no-cache"

_TYPES: Final = MimeTypes()
"""The table of the standard library, without the machine's own, so that all processes say
the same.
"""

_PACKED: Final = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/x-brotli",
}


def content_type(path: str) -> str:
    """Return the type of a file by its name. Packed files are what they are: no client shall unpack
    them on the way.
    """
    kind, encoding = _TYPES.guess_type(f"/{path}", strict=False)
    if encoding is not None:
        return _PACKED.get(encoding, "application/octet-stream")
    return kind or "application/octet-stream"


# What a request for a file gets: the whole, a part, or word that it has it already. Values in, an
# answer without its body out.


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and the part of the file that is its body; `None` when no byte of it is wanted. A
    part without an end is the whole, however long.
    """

    answer: Answer
    part: Slice | None = None
    whole: bool = False


def negotiate(
    headers: Mapping[str, str],
    address: Address,
    now: Representation,
    size: int | None,
    *,
    vary: str = "",
    own: Mapping[str, str] = {},
) -> Offer:
    """Return what the headers of a request get of a file of `size` bytes, or of one whose size
    nobody knows yet.

    `vary` names the headers that decided for this form of it; `own` are headers of the file, which
    go before those that are said of any.
    """
    known = {
        "Last-Modified": now.last_modified,
        "Cache-Control": REVALIDATE,
        **({} if now.etag is None else {"ETag": now.etag}),
        **({"Vary": vary} if vary else {}),
    }
    verdict = evaluate(headers, now)
    if verdict == "not modified":
        return Offer(answer=Answer(status=304, headers=known, length=None))
    if verdict == "failed":
        return Offer(answer=plain(412, "the file is another one than the request's conditions say"))
    described = {
        **known,
        "Content-Type": content_type(address.path),
        "X-Content-Type-Options": "nosniff",
        **own,
    }
    if size is None:
        return Offer(answer=Answer(headers=described, length=None), whole=True)
    described["Accept-Ranges"] = "bytes"
    try:
        part = parse_range(headers.get("Range"), size) if range_counts(headers, now) else None
    except UnsatisfiableRangeError:
        refusal = plain(416, f"the file has {size} bytes", Content_Range=unsatisfied_range(size))
        return Offer(answer=refusal)
    if part is None:
        whole = Slice(0, size)
        return Offer(answer=Answer(headers=described, length=size), part=whole, whole=True)
    described["Content-Range"] = content_range(part, size)
    return Offer(answer=Answer(status=206, headers=described, length=part.count), part=part)


# What a client prefers, by `Accept` and `Accept-Encoding` (RFC 9110, section 12). Text in, a choice
# out.
#
# What cannot be understood counts as not said. A client that takes none of what there is gets the
# first: it can tell by the type that it got something else, and many send lists that are too short.

_LONGEST: Final = 64
"""Entries of a list that count."""


def best_type(accept: str | None, offered: Sequence[str]) -> str:
    """Return the one of the offered media types that the client likes best, of equal ones the
    first. `offered` is not empty.
    """
    ranges = _weights(accept)
    liked = {kind: _weight_of(kind.lower(), ranges) for kind in offered}
    best = max(offered, key=lambda kind: liked[kind])
    return best if liked[best] > 0 else offered[0]


def takes_gzip(accept_encoding: str | None) -> bool:
    """Say whether a client that sent this `Accept-Encoding` wants a body as gzip."""
    weights = _weights(accept_encoding)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _weights(header: str | None) -> dict[str, float]:
    """Return the entries of a list with their weights; of one that comes twice, the larger."""
    weights: dict[str, float] = {}
    for entry in (header or "").split(",", _LONGEST)[:_LONGEST]:
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        if name:
            weights[name] = max(weights.get(name, 0.0), _weight(parameters))
    return weights


def _weight(parameters: Sequence[str]) -> float:
    """Return the weight among the parameters of an entry, 1 if there is none."""
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                found = float(parameter[2:])
            except ValueError:
                return 0.0
            # What is no number compares with nothing.
            return found if 0.0 <= found <= 1.0 else 0.0
    return 1.0


def _weight_of(kind: str, ranges: dict[str, float]) -> float:
    family = kind.partition("/")[0]
    for wanted in (kind, f"{family}/*", "*/*"):
        if wanted in ranges:
            return ranges[wanted]
    return 0.0
