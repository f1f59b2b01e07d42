"""The HTTP client's protocol for one connection, with heads and ends of answers taken more exactly.

1. The parser gets a head as a whole and on its own, so that what follows cannot spoil it. A head is
   at most 64 KiB long.
2. What comes after the end of an answer, but for line ends, is dropped, and the connection is
   closed: on the answer's own connection in whatever read it arrives, and on a free one, where it
   would pass for the answer to the next request.
3. What the parser finds wrong is named. Its own errors quote the answer, which may hold signed URLs
   and cookies.
4. A connection has one timer, which looks at the clock when it rings. The client's way, a new one
   for every read, costs as much as the read.

Also here: where a head ends and what it says, as text and as the length of the body. Together they
are the one place where an answer is cleaned.
"""

import re
from collections.abc import Collection
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp import http_exceptions
from aiohttp.client_proto import ResponseHandler

from flowsync.errors.error_tree import printable

# Where the head of an answer ends, and what it says about the length of the body, said once. Pure.
#
# Intermediaries repeat `Content-Length`, join it into a list, or leave it beside
# `Transfer-Encoding`. RFC 9112 (6.3) says what such an answer means; the client's parser refuses
# them all. A head that contradicts itself stays as it came, and is refused.

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
    # It stands there once: found without the expression, which goes byte by byte.
    stated = _COMMON.match(lower, max(0, lower.find(_LENGTH) - 1))
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


# Called for each answer or piece of one; by `super()` it takes noticeably longer.
_set_response_params: Final = ResponseHandler.set_response_params
_data_received: Final = ResponseHandler.data_received
_feed_data: Final = ResponseHandler.feed_data

_BOUNDS: Final = dict.fromkeys(("max_line_size", "max_field_size", "max_headers"), LONGEST_HEAD)

_GRAIN: Final = 0.001
"""Seconds by which timers of the loop may come early."""

_MOST_INTERIM: Final = 16
"""Interim answers (1xx) before the one that counts."""

# What llhttp found, a fixed phrase; behind it come the bytes in which it was found.
_PHRASE: Final = re.compile(r"(?:Bad status line:\n\s*)?([A-Za-z][A-Za-z0-9 /,.'_-]{0,80}):\n")


class UnintelligibleAnswerError(aiohttp.ClientError):
    """What came is not an HTTP answer. The text names the fault and quotes nothing. `final` means
    that the same would come again.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class AnswerProtocol(ResponseHandler):
    """Takes the answers of one connection. Made by the connector, lives as long as that."""

    _head: bytes = b""
    _heads_due: bool = False
    _interim: int = 0
    _silent_at: float | None = None
    _alarm_at: float = 0.0

    def set_response_params(self, **settings: Any) -> None:
        """Prepare for the answer to the next request."""
        self._head, self._heads_due, self._interim = b"", True, 0
        settings.update(_BOUNDS)
        _set_response_params(self, **settings)

    def data_received(self, data: bytes) -> None:
        """Take what arrived, or go on with what had arrived where there is no data."""
        if not data or self._parser is None or self._upgraded:
            _data_received(self, data)
            return
        if self._heads_due and not self._head and is_ordinary(data):
            _data_received(self, data)
            return
        while data and self._heads_due and self._exception is None:
            data = self._take_head(data)
        if not data or self._exception is not None:
            return
        if self._payload is None or self._payload.is_eof():
            # Some servers end a body with a line end too many.
            if data.strip(b"\r\n"):
                self.force_close()
                self._hang_up()
        else:
            _data_received(self, data)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a head from the parser."""
        status = data[0].code
        if 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > _MOST_INTERIM:
                self._refuse("it does not begin after many interim answers")
                return
        else:
            self._heads_due = False
        _feed_data(self, data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Take note that no answer comes any more, or no more of one."""
        if isinstance(exc, http_exceptions.HttpProcessingError):
            exc, cause = UnintelligibleAnswerError(_fault(*cause)), ()
            if self._payload is not None and not self._payload.is_eof():
                self._payload.set_exception(aiohttp.ClientPayloadError(str(exc)))
        super().set_exception(exc, *cause)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on after a pause. The client asks for it after every read of a body; without a pause
        the parser holds nothing back.
        """
        if self._reading_paused or not resume_parser:
            super().resume_reading(resume_parser)

    def _reschedule_timeout(self) -> None:
        timeout = self._read_timeout
        if not timeout:
            self._drop_timeout()
            return
        self._silent_at = due = self._loop.time() + timeout
        if self._read_timeout_handle is None:
            self._set_alarm(due)
        elif due < self._alarm_at:
            self._read_timeout_handle.cancel()
            self._set_alarm(due)

    def _drop_timeout(self) -> None:
        self._silent_at = None
        if self._should_close or self._connection_lost_called or self.transport is None:
            super()._drop_timeout()

    def _set_alarm(self, due: float) -> None:
        self._alarm_at = due
        self._read_timeout_handle = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._read_timeout_handle = None
        due = self._silent_at
        if due is None:
            return
        if self._loop.time() < due - _GRAIN:
            self._set_alarm(due)
        else:
            self._on_read_timeout()

    def _take_head(self, data: bytes) -> bytes:
        """Take bytes of a head, and return those behind it."""
        seen = len(self._head)
        head = self._head + data if seen else data
        end = end_of_head(head, seen)
        if (len(head) if end is None else end) > LONGEST_HEAD:
            self._refuse(f"its head is longer than {LONGEST_HEAD} bytes", final=True)
            return b""
        if not begins_like_http(head):
            self._refuse("it does not begin like HTTP")
            return b""
        if end is None:
            self._head = head
            self.start_timeout()
            return b""
        self._head = b""
        _data_received(self, plain(head[:end]))
        return head[end:]

    def _refuse(self, reason: str, *, final: bool = False) -> None:
        self.set_exception(UnintelligibleAnswerError(reason, final=final))
        self._hang_up()

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.close()


def _fault(error: BaseException | None = None) -> str:
    if isinstance(error, http_exceptions.LineTooLong):
        return "a line of its head is too long"
    if isinstance(error, http_exceptions.InvalidHeader):
        return "a header line is malformed"
    found = _PHRASE.match(getattr(error, "message", ""))
    return "it is malformed" if found is None else f"it is malformed: {found[1]}"


# What the head of an answer says, as text that every part may keep. Pure; the only way in for it.
#
# 1. A name is in lower case; a value is printable. Bytes that are no UTF-8 are read as Latin-1, as
#    HTTP once had it; what cannot be shown is replaced.
# 2. A header that comes several times counts once where the values are equal; others are joined
#    with commas (RFC 9110, 5.3).
# 3. Where a redirect leads is kept as it came: it is encoded for the wire, byte for byte, and never
#    shown as it is. Several places are none.

LONGEST_REASON: Final = 200
"""Characters of a status line's phrase, which is shown in errors."""


class Head(NamedTuple):
    """Status, phrase and headers of an answer.

    `location` may hold surrogates, which stand for bytes that are no UTF-8.
    """

    status: int
    reason: str
    headers: dict[str, str]
    location: str | None


def read_head(status: int, reason: str, lines: Collection[tuple[str, str]]) -> Head:
    """Return what a head says.

    `lines` are its headers as the client decodes them, with surrogates for bytes that are no UTF-8.
    """
    if reason != "OK":
        reason = clean(reason)[:LONGEST_REASON]
    headers = {name.lower(): value for name, value in lines}
    # Nearly every head is clean and says everything once.
    text = "".join([*headers, *headers.values()])
    if len(headers) == len(lines) and text.isprintable():
        return Head(status, reason, headers, headers.get("location"))
    said: dict[str, dict[str, None]] = {}
    places: dict[str, None] = {}
    for name, value in lines:
        key = clean(name.lower())
        said.setdefault(key, {})[clean(value)] = None
        if key == "location":
            places[value] = None
    location = next(iter(places)) if len(places) == 1 else None
    return Head(status, reason, {key: ", ".join(said[key]) for key in said}, location)


def clean(text: str) -> str:
    """Return text of a head without what cannot be shown."""
    if not text.isprintable():
        raw = text.encode(errors="surrogateescape")
        if not text.isascii() and _is_foreign(raw):
            text = raw.decode("latin-1")
    return printable(text)


def _is_foreign(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return True
    return False
