"""What a request for a file gets: the whole, a part, or word that it has it already. Values in, an
answer without its body out.

What a client prefers, by `Accept` and `Accept-Encoding` (RFC 9110, section 12). Text in, a
choice out.

What cannot be understood counts as not said. A client that takes none of what there is gets the
first: it can tell by the type that it got something else, and many send lists that are too short.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from flowsync.serve.http.answer import Answer, plain
from flowsync.serve.http.conditions import (
    REVALIDATE,
    Representation,
    content_type,
    evaluate,
    range_counts,
)
from flowsync.serve.http.ranges import (
    Slice,
    UnsatisfiableRangeError,
    content_range,
    parse_range,
    unsatisfied_range,
)
from flowsync.serve.http.target import Address


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
