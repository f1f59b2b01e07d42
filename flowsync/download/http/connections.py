"""GET requests over the HTTP client's pooled connections, without its session.

1. The client's connector gives the connection: it resolves, connects, greets proxies, does TLS, and
   keeps what is free. Its protocol and its parser take the answer. What is left out is the session,
   with its objects for requests and answers, redirects, cookies and middlewares, which nobody here
   uses: with retries, slots and sink a GET of 4 KiB costs 0.8 of the CPU of a bare one through the
   session (`bench/download/bench_http.py`).
2. A reply holds its connection until it is released; one whose body was read to its end, here or
   elsewhere, goes back to the pool, any other is closed.
3. What takes the answers is `protocol`, given to the connector in place of the client's own.
4. A request whose connection breaks before the first byte of an answer is sent once more at once:
   the server may have closed a free connection in that very moment (RFC 9112, 9.3.1).
5. Header lines and request targets are checked before they are written: none can hold what would
   begin another line.

Decisions: docs/decisions/0011.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from ssl import SSLContext
from typing import Final

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from flowsync.download.http.answer_protocol import AnswerProtocol, Head, read_head
from flowsync.download.http.socket_tap import Tap
from flowsync.download.transfer.response import content_length
from flowsync.errors import DeclarationError
from flowsync.model.url import Origin

_READ_BUFFER: Final = 1 << 18
_TEMPLATES: Final = 1024
"""How many parties' connection settings are kept: a bound for daemons that follow redirects to ever
new hosts.
"""

_BROKEN_EARLY: Final = (
    aiohttp.ClientOSError,
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientConnectionResetError,
)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a request goes to, and how to connect. `url` is in wire form; `proxy` is the proxy's
    URL, `proxy_headers` greet it where it tunnels.
    """

    url: str
    origin: Origin
    ssl: SSLContext | bool
    proxy: str | None = None
    proxy_headers: Mapping[str, str] | None = None


class Reply:
    """An answer whose body is still to be read from `content`, or past it after `divert`.

    `length` is how many bytes the body has, or `None` where its end shows only as it comes.
    """

    __slots__ = ("_connection", "content", "head", "length")

    def __init__(
        self,
        connection: aiohttp.connector.Connection,
        message: aiohttp.http.RawResponseMessage,
        content: aiohttp.StreamReader,
    ) -> None:
        self.head: Head = read_head(message.code, message.reason, message.headers.items())
        self.content = content
        self.length = None if message.chunked else content_length(self.head.headers)
        self._connection = connection

    def divert(self) -> tuple[bytes, Tap] | None:
        """Take the rest of the body, whose `length` is known, away from the client: return the
        bytes that it has read, and a tap for those to come.

        Return `None` where that cannot be: the connection is encrypted or broken, or the body is
        already there.
        """
        content, protocol = self.content, self._connection.protocol
        transport = self._connection.transport
        if (
            self.length is None
            or protocol is None
            or transport is None
            or transport.is_closing()
            or transport.get_extra_info("sslcontext") is not None
            or content.is_eof()
            or content.exception() is not None
        ):
            return None
        # Without a pause between: nothing may arrive at the client after its bytes were counted.
        arrived = b"".join(iter(content.read_nowait, b""))
        transport.pause_reading()
        protocol.read_timeout = None
        protocol.start_timeout()
        descriptor = transport.get_extra_info("socket").fileno()
        return arrived, Tap(descriptor, self.length - content.total_bytes)

    def read_elsewhere(self) -> None:
        """Tell the client that its diverted body came to its end, so that the connection can be
        used again.
        """
        self.content.feed_eof()

    def release(self) -> None:
        """Let go of the connection; a second call does nothing."""
        self._connection.release()


class Connections:
    """Sends GET requests over the connections of one connector. Belongs to its loop."""

    def __init__(self, connector: aiohttp.TCPConnector) -> None:
        self._connector = connector
        loop = asyncio.get_running_loop()
        connector._factory = partial(AnswerProtocol, loop)  # type: ignore[assignment]
        self._templates: dict[tuple[Origin, SSLContext | bool], aiohttp.ClientRequest] = {}

    async def get(
        self,
        target: Target,
        headers: Sequence[tuple[str, str]],
        limits: aiohttp.ClientTimeout,
    ) -> Reply:
        """Send a request and return the reply when its head is there.

        Of `limits`, those on connecting and on waiting for bytes count. Raise what the client
        raises, which may be anything: its text may hold headers of the request.
        """
        try:
            return await self._exchange(target, headers, limits)
        except _BROKEN_EARLY:
            return await self._exchange(target, headers, limits)

    async def _exchange(
        self,
        target: Target,
        headers: Sequence[tuple[str, str]],
        limits: aiohttp.ClientTimeout,
    ) -> Reply:
        request = self._request(target)
        head = _head(target, request.headers["Host"], headers)
        try:
            connection = await self._connector.connect(request, [], limits)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("connecting took too long") from error
        try:
            return await _ask(connection, head, limits.sock_read)
        except BaseException:
            connection.close()
            raise

    def _request(self, target: Target) -> aiohttp.ClientRequest:
        """Return what tells the connector whom to connect to. Behind a proxy it is made anew,
        because the connector writes into it.
        """
        if target.proxy is not None:
            return aiohttp.ClientRequest(
                "GET",
                URL(target.url, encoded=True),
                loop=asyncio.get_running_loop(),
                ssl=target.ssl,
                proxy=URL(target.proxy),
                proxy_headers=CIMultiDict(target.proxy_headers or {}),
            )
        key = target.origin, target.ssl
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) >= _TEMPLATES:
                self._templates.clear()
            url = URL(target.url, encoded=True)
            template = aiohttp.ClientRequest(
                "GET", url, loop=asyncio.get_running_loop(), ssl=target.ssl
            )
            self._templates[key] = template
        return template


async def _ask(
    connection: aiohttp.connector.Connection, head: bytes, stall_timeout: float | None
) -> Reply:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing():
        raise aiohttp.ClientConnectionResetError("the connection was closed before it was used")
    protocol.set_response_params(
        read_until_eof=True,
        auto_decompress=False,
        read_timeout=stall_timeout,
        read_bufsize=_READ_BUFFER,
    )
    transport.write(head)
    protocol.start_timeout()
    message, content = await protocol.read()
    while 100 <= message.code < 200 and message.code != 101:
        message, content = await protocol.read()
    return Reply(connection, message, content)


def _head(target: Target, host: str, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"GET {_request_target(target)} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    text = "\n".join(lines)
    if text.count("\n") >= len(lines) or "\r" in text or "\0" in text:
        raise DeclarationError(f"a header of a request to {host} holds a line end or a zero byte")
    head = _encoded(f"{text}\n\n".replace("\n", "\r\n"))
    if head is None:
        raise DeclarationError(f"a header of a request to {host} is no text that can be sent")
    return head


def _encoded(text: str) -> bytes | None:
    # An error here would hold the whole text, credentials and all.
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _request_target(target: Target) -> str:
    if target.proxy is not None and target.origin[0] == "http":
        return target.url
    rest = target.url.partition("://")[2]
    for position, character in enumerate(rest):
        if character == "/":
            return rest[position:]
        if character == "?":
            return f"/{rest[position:]}"
    return "/"
