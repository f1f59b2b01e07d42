"""The HTTP client's protocol for one connection, with heads and ends of answers taken more exactly.

1. The parser gets a head as a whole and on its own, so that what follows cannot spoil it. A head is
   at most 64 KiB long.
2. What comes after the end of an answer, but for line ends, is dropped, and the connection is
   closed: on the answer's own connection in whatever read it arrives, and on a free one, where it
   would pass for the answer to the next request.
3. What the parser finds wrong is named. Its own errors quote the answer, which may hold signed URLs
   and cookies.
"""

import re
from typing import Any, Final

import aiohttp
from aiohttp import http_exceptions
from aiohttp.client_proto import ResponseHandler

from flowsync.download.http.framing import (
    LONGEST_HEAD,
    begins_like_http,
    end_of_head,
    is_ordinary,
    plain,
)

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

    def set_response_params(self, **settings: Any) -> None:
        """Prepare for the answer to the next request."""
        self._head, self._heads_due, self._interim = b"", True, 0
        bounds = dict.fromkeys(("max_line_size", "max_field_size", "max_headers"), LONGEST_HEAD)
        super().set_response_params(**{**settings, **bounds})

    def data_received(self, data: bytes) -> None:
        """Take what arrived, or go on with what had arrived where there is no data."""
        if not data or self._parser is None or self._upgraded:
            super().data_received(data)
            return
        if self._heads_due and not self._head and is_ordinary(data):
            super().data_received(data)
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
            super().data_received(data)

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
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Take note that no answer comes any more, or no more of one."""
        if isinstance(exc, http_exceptions.HttpProcessingError):
            exc, cause = UnintelligibleAnswerError(_fault(*cause)), ()
            if self._payload is not None and not self._payload.is_eof():
                self._payload.set_exception(aiohttp.ClientPayloadError(str(exc)))
        super().set_exception(exc, *cause)

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
        super().data_received(plain(head[:end]))
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
