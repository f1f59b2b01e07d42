"""What an HTTP answer means, from its status and headers. Pure; what cannot be understood counts as
absent.

A try that asked for the rest of a body gets it only from a 206 that begins at the right byte and
comes from the same body. A 200 or 203 is the whole body anew; so is a 206 to a request for the
whole if it holds all of it: digest and size decide. A wrong rest voids the validator, so that the
next try begins at the first byte. A 416 says that there is no rest: where the same body ends after
the last byte that came, nothing is missing. A transfer that broke off, or was killed, just before
it knew that fetches nothing twice. What is sent back to upstream, an entity tag or a date, is kept
only where it can be sent back as it came.
"""

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from flowsync.download.transfer.attempt import Tally
from flowsync.errors import (
    BrokenBodyError,
    RefusedAnswerError,
    StatusError,
    TransferError,
)
from flowsync.errors.error_tree import printable
from flowsync.model.remote import FetchRequest, Validators
from flowsync.model.url import redact

Headers = Mapping[str, str]
"""Headers of an answer, names in lower case."""

# Eighteen digits are more bytes than there are, and few enough for `int`.
_CONTENT_RANGE: Final = re.compile(
    r"bytes[ \t]+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE
)

_UNSATISFIED_RANGE: Final = re.compile(r"bytes[ \t]+\*/([0-9]{1,18})", re.IGNORECASE)

_LENGTH: Final = re.compile(r"[0-9]{1,20}")

_SECONDS: Final = re.compile(r"[0-9]{1,18}")

_ENTITY_TAG: Final = re.compile(r'(?:W/)?"[!#-~]*"|[!#-+.-~-]+')
"""A tag as RFC 9110 (8.8.3) has it, or a bare word, as some servers send and take it; ASCII, so
that its bytes are known.
"""

_LONGEST_TAG: Final = 1024
"""Characters of an entity tag that is sent back. Servers refuse requests whose heads are long."""

_LONGEST_DATE: Final = 64

_SETTLED: Final = 60.0
"""Seconds a body must have been unchanged before its date tells it from all others: two changes can
fall into one second.
"""


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
    if status in {200, 203}:
        return Verdict.BEGIN
    if status == 304 and request.validators and not tally.taken:
        return Verdict.UNMODIFIED
    if status == 206 and tally.resumable:
        _check_continues(request, tally, headers)
        return Verdict.CONTINUE
    if status == 206:
        _check_whole(request, headers)
        return Verdict.BEGIN
    if status == 416 and tally.taken:
        if _ends_here(tally, headers):
            return Verdict.COMPLETE
        tally.validator = None
        raise _broken(request, f"has no bytes from {tally.taken} on any more")
    text = f"status {status} {reason}".rstrip()
    raise StatusError(redact(request.url), text, status, retry_after(headers, now))


def _check_whole(request: FetchRequest, headers: Headers) -> None:
    found = content_range(headers)
    if found is not None and found[0] == 0 and (found[1] or request.size) is not None:
        return
    shown = printable(headers.get("content-range", "an unknown part"), 100)
    reason = f"asked for the whole body, the answer holds {shown}"
    raise RefusedAnswerError(redact(request.url), reason)


def _check_continues(request: FetchRequest, tally: Tally, headers: Headers) -> None:
    found = content_range(headers)
    known, tally.validator = tally.validator, None
    if known is None or found is None or found[0] != tally.taken:
        shown = printable(headers.get("content-range", "an unknown part"), 100)
        raise _broken(request, f"asked for bytes from {tally.taken} on, the answer holds {shown}")
    etag = headers.get("etag")
    if etag is not None and known.startswith('"') and etag != known:
        raise _broken(request, "the body has changed since its first bytes came")
    if found[1] is not None:
        tally.promise(found[1])
    tally.validator = known


def _ends_here(tally: Tally, headers: Headers) -> bool:
    # Only when the body is still the same does If-Range let a server look at the range at all (RFC
    # 9110, 13.1.5).
    known, etag = tally.validator, headers.get("etag")
    if known is None or (etag is not None and known.startswith('"') and etag != known):
        return False
    found = _UNSATISFIED_RANGE.fullmatch(headers.get("content-range", ""))
    return found is not None and int(found[1]) == tally.taken


def _broken(request: FetchRequest, reason: str) -> TransferError:
    return BrokenBodyError(redact(request.url), reason)


def validators(headers: Headers, known: str | None = None) -> Validators:
    """Return by what upstream will recognise this body; by its `known` validator where the answer
    tells none.
    """
    if known is not None and "etag" not in headers and "last-modified" not in headers:
        return Validators(known) if known.startswith('"') else Validators(None, known)
    if known is not None and headers.get("etag") == known:
        return Validators(known, _modified(headers))
    return Validators(_entity_tag(headers), _modified(headers))


def strong_validator(headers: Headers) -> str | None:
    """Return the value for `If-Range` that stands for these very bytes, or `None` if upstream gave
    none (RFC 9110, 13.1.5).
    """
    if "etag" in headers:
        etag = _entity_tag(headers)
        return etag if etag is not None and etag.startswith('"') else None
    modified = _modified(headers)
    changed, answered = _seconds(modified), _seconds(headers.get("date"))
    if changed is None or answered is None or answered - changed < _SETTLED:
        return None
    return modified


def _entity_tag(headers: Headers) -> str | None:
    etag = headers.get("etag")
    if etag is None or len(etag) > _LONGEST_TAG:
        return None
    return etag if _ENTITY_TAG.fullmatch(etag) else None


def _modified(headers: Headers) -> str | None:
    modified = headers.get("last-modified")
    if modified is None or len(modified) > _LONGEST_DATE or not modified.isascii():
        return None
    return modified


def content_length(headers: Headers) -> int | None:
    """Return how many bytes the answer's body is said to have, or `None` when it is not said."""
    found = headers.get("content-length", "")
    return int(found) if _LENGTH.fullmatch(found) else None


def encodings(headers: Headers) -> list[str]:
    """Return the encodings of the body in the order in which they were applied, in lower case;
    `identity` is none.
    """
    return _codings(headers, "content-encoding")


def transfer_codings(headers: Headers) -> list[str]:
    """Return what was done to the body for its way only, besides cutting it into chunks."""
    codings = _codings(headers, "transfer-encoding")
    return codings[:-1] if codings[-1:] == ["chunked"] else codings


def _codings(headers: Headers, name: str) -> list[str]:
    said = headers.get(name)
    if said is None:
        return []
    named = (coding.strip().lower() for coding in said.split(","))
    return [coding for coding in named if coding not in {"", "identity"}]


def content_range(headers: Headers) -> tuple[int, int | None] | None:
    """Return the first byte and the whole length (`None` if unknown) of which a 206 answer holds
    all from that byte on, or `None`.
    """
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    whole = None if found[3] == "*" else int(found[3])
    if whole is not None and last != whole - 1:
        return None
    return first, whole


def retry_after(headers: Headers, now: float) -> float | None:
    """Return the seconds that upstream asks to wait, or `None`. A date is compared with upstream's
    own clock if it tells, else with `now`.
    """
    asked = headers.get("retry-after")
    if asked is None:
        return None
    if _SECONDS.fullmatch(asked.strip()):
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
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None


def http_date(seconds: float) -> str | None:
    """Return a moment, in seconds since the epoch, as HTTP writes it, or `None` where the calendar
    does not reach.
    """
    try:
        return datetime.fromtimestamp(int(seconds), UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    except (ArithmeticError, OSError, ValueError):
        return None
