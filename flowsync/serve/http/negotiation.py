"""What a request for a file gets: the whole, a part, or word that it has it already. Values in, an
answer without its body out.
"""

from collections.abc import Mapping

import msgspec

from flowsync.serve.http.answer import Answer, plain
from flowsync.serve.http.caching import REVALIDATE, content_type
from flowsync.serve.http.conditions import Representation, evaluate, range_counts
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
