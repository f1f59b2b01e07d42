"""What an HTTP answer means, from its status and headers. Pure; what cannot be understood counts as absent.

A try that asked for the rest of a body gets it only from a 206 that begins at the right byte and comes from the same body. A 200 is the whole body
anew. A wrong rest voids the validator, so that the next try begins at the first byte. A 416 says that there is no rest: where the same body ends
after the last byte that came, nothing is missing. A transfer that broke off, or was killed, just before it knew that fetches nothing twice.
"""

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from flowsync.download.origin import Tally
from flowsync.model.transfer import FetchRequest, Validators
from flowsync.model.transfer_errors import BrokenBodyError, StatusError, TransferError
from flowsync.model.url import redact

Headers = Mapping[str, str]
"""Headers of an answer, names in lower case."""

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

_UNSATISFIED_RANGE: Final = re.compile(r"bytes \*/(\d+)")

_SETTLED: Final = 60.0
"""Seconds a body must have been unchanged before its date tells it from all others: two changes can fall into one second."""


class Verdict(enum.Enum):
    """What is to be done with the body of an answer."""

    BEGIN = "it is the body from its first byte"
    CONTINUE = "it is the rest of what the sink has"
    COMPLETE = "there is none, the sink has everything"
    UNMODIFIED = "there is none, upstream has nothing newer"


def judge(
    request: FetchRequest, tally: Tally, status: int, reason: str, headers: Headers, now: float
) -> Verdict:
    """Return what the answer brings; `now` is seconds since the epoch.

    Raise `BrokenBodyError`, `StatusError` or `SizeMismatchError` when it brings nothing.
    """
    if status == 200:
        return Verdict.BEGIN
    if status == 304 and request.validators and not tally.taken:
        return Verdict.UNMODIFIED
    if status == 206:
        _check_continues(request, tally, headers)
        return Verdict.CONTINUE
    if status == 416 and tally.taken:
        if _ends_here(tally, headers):
            return Verdict.COMPLETE
        tally.validator = None
        raise _broken(request, f"has no bytes from {tally.taken} on any more")
    text = f"status {status} {reason}".rstrip()
    raise StatusError(redact(request.url), text, status, retry_after(headers, now))


def _check_continues(request: FetchRequest, tally: Tally, headers: Headers) -> None:
    found = content_range(headers)
    known, tally.validator = tally.validator, None
    if known is None or found is None or found[0] != tally.taken:
        shown = headers.get("content-range", "an unknown part")
        raise _broken(request, f"asked for bytes from {tally.taken} on, the answer holds {shown}")
    etag = headers.get("etag")
    if etag is not None and known.startswith('"') and etag != known:
        raise _broken(request, "the body has changed since its first bytes came")
    if found[1] is not None:
        tally.promise(found[1])
    tally.validator = known


def _ends_here(tally: Tally, headers: Headers) -> bool:
    # Only when the body is still the same does If-Range let a server look at the range at all (RFC 9110, 13.1.5).
    known, etag = tally.validator, headers.get("etag")
    if known is None or (etag is not None and known.startswith('"') and etag != known):
        return False
    found = _UNSATISFIED_RANGE.fullmatch(headers.get("content-range", ""))
    return found is not None and int(found[1]) == tally.taken


def _broken(request: FetchRequest, reason: str) -> TransferError:
    return BrokenBodyError(redact(request.url), reason)


def validators(headers: Headers, known: str | None = None) -> Validators:
    """Return by what upstream will recognise this body; by its `known` validator where the answer tells none."""
    etag, modified = headers.get("etag"), headers.get("last-modified")
    if known is not None and etag is None and modified is None:
        return Validators(known) if known.startswith('"') else Validators(None, known)
    return Validators(etag, modified)


def strong_validator(headers: Headers) -> str | None:
    """Return the value for `If-Range` that stands for these very bytes, or `None` if upstream gave none (RFC 9110, 13.1.5)."""
    etag = headers.get("etag")
    if etag is not None:
        return None if etag.startswith("W/") else etag
    modified = headers.get("last-modified")
    changed, answered = _seconds(modified), _seconds(headers.get("date"))
    if changed is None or answered is None or answered - changed < _SETTLED:
        return None
    return modified


def content_length(headers: Headers) -> int | None:
    """Return how many bytes the answer's body is said to have, or `None` when it is not said."""
    found = headers.get("content-length", "")
    return int(found) if found.isdecimal() else None


def content_range(headers: Headers) -> tuple[int, int | None] | None:
    """Return the first byte and the whole length (`None` if unknown) of which a 206 answer holds all from that byte on, or `None`."""
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    whole = None if found[3] == "*" else int(found[3])
    if whole is not None and last != whole - 1:
        return None
    return first, whole


def retry_after(headers: Headers, now: float) -> float | None:
    """Return the seconds that upstream asks to wait, or `None`. A date is compared with upstream's own clock if it tells, else with `now`."""
    asked = headers.get("retry-after")
    if asked is None:
        return None
    if asked.strip().isdecimal():
        return float(asked)
    until = _seconds(asked)
    if until is None:
        return None
    answered = _seconds(headers.get("date"))
    return max(0.0, until - (now if answered is None else answered))


def _seconds(date: str | None) -> float | None:
    if date is None:
        return None
    try:
        parsed = parsedate_to_datetime(date)
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def http_date(seconds: float) -> str:
    """Return a moment, in seconds since the epoch, as HTTP writes it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
