"""Where the head of an answer ends, and what it says about the length of the body, said once. Pure.

Intermediaries repeat `Content-Length`, join it into a list, or leave it beside `Transfer-Encoding`.
RFC 9112 (6.3) says what such an answer means; the client's parser refuses them all. A head that
contradicts itself stays as it came, and is refused.
"""

import re
from typing import Final

LONGEST_HEAD: Final = 1 << 16
"""Bytes of a status line with all header lines. Signed URLs alone take nine thousand."""

_WITH_BODY: Final = (b"HTTP/1.1 200 ", b"HTTP/1.1 206 ")
_END: Final = re.compile(rb"\n\r?\n")
_LENGTH: Final = b"content-length"
_CODING: Final = b"transfer-encoding"
_COMMON: Final = re.compile(rb"\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r?\n")


def is_ordinary(data: bytes) -> bool:
    """Say whether the data begins with the whole head of an answer that says the length of its body
    once, and holds nothing behind that body: nothing has to be made plain then.
    """
    end = data.find(b"\r\n\r\n") + 4
    if end < 4 or end > LONGEST_HEAD or not data.startswith(_WITH_BODY):
        return False
    lower = data[:end].lower()
    if lower.count(_LENGTH) != 1 or _CODING in lower:
        return False
    stated = _COMMON.search(lower)
    return stated is not None and len(data) - end <= int(stated[1])


def end_of_head(data: bytes, seen: int = 0) -> int | None:
    """Return the index behind the empty line that ends a head, or `None`; the first `seen` bytes
    hold none.
    """
    found = _END.search(data, max(0, seen - 2))
    return None if found is None else found.end()


def begins_like_http(data: bytes) -> bool:
    """Say whether the data may begin an answer. Empty lines before it do not count."""
    begin = data.lstrip(b"\r\n")[:5]
    return begin == b"HTTP/"[: len(begin)]


def plain(head: bytes) -> bytes:
    """Return the head with one plain statement of how the body is framed, where it makes several
    that agree.
    """
    lower = head.lower()
    lengths = lower.count(_LENGTH)
    if _CODING not in lower and (not lengths or (lengths == 1 and _COMMON.search(lower))):
        return head
    lines = head.split(b"\n")
    if any(line[:1] in {b" ", b"\t"} for line in lines[1:]):
        # A value that goes on in the next line: the parser's to judge.
        return head
    sizes, codings = _values(lines, _LENGTH), _values(lines, _CODING)
    coded = [coding for coding in codings if coding.lower() not in {b"", b"identity"}]
    if coded:
        return b"\n".join(_without(lines, _LENGTH))
    if codings:
        lines = _without(lines, _CODING)
    if len(set(sizes)) == 1 and sizes[0].isdigit():
        first = next(number for number, line in enumerate(lines) if _name(line) == _LENGTH)
        kept = _without(lines, _LENGTH)
        kept.insert(first, b"Content-Length: %b\r" % sizes[0])
        return b"\n".join(kept)
    return b"\n".join(lines)


def _values(lines: list[bytes], name: bytes) -> list[bytes]:
    joined = b",".join(line.partition(b":")[2] for line in lines if _name(line) == name)
    return [value.strip() for value in joined.split(b",")] if joined else []


def _without(lines: list[bytes], name: bytes) -> list[bytes]:
    return [line for line in lines if _name(line) != name]


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].rstrip(b" \t").lower()
