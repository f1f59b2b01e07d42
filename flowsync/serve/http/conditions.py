"""What the conditions of a request come to (RFC 9110, section 13). Headers and validators in, a
verdict out.

1. The order is that of the RFC: `If-Match`, or without it `If-Unmodified-Since`; then
   `If-None-Match`, or without it `If-Modified-Since`.
2. Entity tags are strong, because they are digests of the bytes. `If-None-Match` compares weakly,
   so that the tag of a proxy that compressed the body still matches; `If-Match` and `If-Range`
   compare strongly.
3. A date that cannot be understood is no condition; nor, with `If-Range`, does it match.

How long what is served may be kept, and what it is: the headers that depend on the address
alone.

Decisions: docs/decisions/0016.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from mimetypes import MimeTypes
from typing import Final, Literal

import msgspec

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
    """Return the type of a file by its name. Packed files are what they are: nobody shall unpack
    them on the way.
    """
    kind, encoding = _TYPES.guess_type(f"/{path}", strict=False)
    if encoding is not None:
        return _PACKED.get(encoding, "application/octet-stream")
    return kind or "application/octet-stream"
