"""Which bytes of a body a `Range` header asks for (RFC 9110, section 14). Text in, a slice out.

1. One range of bytes is answered: from and to, from on, or the last so many. An end behind the
   body's is the body's.
2. Several ranges at once are not answered as such: the whole body is, which the RFC allows and
   every client understands.
3. Units other than bytes do not count.
4. A range that begins behind the body, or that cannot be understood, is refused with the size, so
   that the client can do better.
5. Positions count as numbers, however many digits they have.
"""

import re
from typing import Final

import msgspec

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
    """Return the value of `Content-Range` that tells the size to whoever asked for too much."""
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
