"""What an upstream does with one request. A script is a sequence of these; after its end the
upstream behaves well.

Byte counts are of the body as it would be sent: for a ranged answer, of the range.
"""

import gzip
import socket
import struct
from collections.abc import Callable, Sequence

import msgspec

from tests.upstream.exchange import Exchange


class Good(msgspec.Struct, frozen=True):
    """Answer as a server should: whole, ranged, or not modified."""

    async def play(self, exchange: Exchange) -> None:
        await exchange.send(exchange.answer())


class Cut(msgspec.Struct, frozen=True):
    """Announce the whole body and close the connection after `after` bytes."""

    after: int

    async def play(self, exchange: Exchange) -> None:
        answer = exchange.answer()
        await exchange.send_head(answer)
        await exchange.send_body(answer.body[: self.after])
        exchange.close()


class Reset(msgspec.Struct, frozen=True):
    """Like `Cut`, but with a TCP reset."""

    after: int

    async def play(self, exchange: Exchange) -> None:
        answer = exchange.answer()
        await exchange.send_head(answer)
        await exchange.send_body(answer.body[: self.after])
        linger_not = struct.pack("ii", 1, 0)
        exchange.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        exchange.close()


class Hang(msgspec.Struct, frozen=True):
    """Send `after` bytes, then nothing more until the client goes away. Without `after`, not even a
    head.
    """

    after: int | None = None

    async def play(self, exchange: Exchange) -> None:
        if self.after is not None:
            answer = exchange.answer()
            await exchange.send_head(answer)
            await exchange.send_body(answer.body[: self.after])
        await exchange.client_left()


class Hold(msgspec.Struct, frozen=True):
    """Answer well, but only when the test calls `Upstream.release`."""

    async def play(self, exchange: Exchange) -> None:
        await exchange.released()
        await exchange.send(exchange.answer())


class Corrupt(msgspec.Struct, frozen=True):
    """Send a body of the right length with its byte at `at` flipped; where that is beyond the end,
    its last one. An empty body stays as it is.
    """

    at: int = 0

    async def play(self, exchange: Exchange) -> None:
        answer = exchange.answer()
        body = bytearray(answer.body)
        if body:
            body[min(self.at, len(body) - 1)] ^= 0xFF
        answer.body = bytes(body)
        await exchange.send(answer)


class Lie(msgspec.Struct, frozen=True):
    """Announce `by` bytes more (or, negative, fewer) than the body has, send the body, and
    close.
    """

    by: int

    async def play(self, exchange: Exchange) -> None:
        answer = exchange.answer()
        answer.headers["Content-Length"] = str(len(answer.body) + self.by)
        await exchange.send(answer)
        exchange.close()


class Unmeasured(msgspec.Struct, frozen=True):
    """Announce no length: the body, cut to `after` bytes if that is set, ends when the connection
    closes.
    """

    after: int | None = None

    async def play(self, exchange: Exchange) -> None:
        answer = exchange.answer()
        answer.body = answer.body[: self.after]
        answer.headers["Connection"] = "close"
        answer.headers.pop("Content-Length", None)
        await exchange.send(answer)
        exchange.close()


class Chunked(msgspec.Struct, frozen=True):
    """Send the body in HTTP chunks of `size` bytes; with `cut`, close before the last chunk."""

    size: int = 1024
    cut: bool = False

    async def play(self, exchange: Exchange) -> None:
        answer = exchange.answer()
        answer.headers["Transfer-Encoding"] = "chunked"
        answer.headers.pop("Content-Length", None)
        await exchange.send_head(answer)
        for start in range(0, len(answer.body), self.size):
            chunk = answer.body[start : start + self.size]
            await exchange.send_body(b"%x\r\n%b\r\n" % (len(chunk), chunk), counted=len(chunk))
        if self.cut:
            exchange.close()
        else:
            await exchange.send_body(b"0\r\n\r\n", counted=0)


class Status(msgspec.Struct, frozen=True):
    """Answer with an error, or any other status; `retry_after` is sent as it is."""

    code: int
    retry_after: str | None = None
    headers: dict[str, str] = {}

    async def play(self, exchange: Exchange) -> None:
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = self.retry_after
        await exchange.send_status(self.code, headers)


class Redirect(msgspec.Struct, frozen=True):
    """Redirect to `location`."""

    location: str
    code: int = 302

    async def play(self, exchange: Exchange) -> None:
        await exchange.send_status(self.code, {"Location": self.location})


class Change(msgspec.Struct, frozen=True):
    """From this request on the path has another body."""

    body: bytes

    async def play(self, exchange: Exchange) -> None:
        exchange.replace(self.body)
        await exchange.send(exchange.answer())


class Then(msgspec.Struct, frozen=True):
    """Answer with what the path has now; before the answer goes out, upstream changes."""

    change: Callable[[], object]

    async def play(self, exchange: Exchange) -> None:
        answer = exchange.answer()
        self.change()
        await exchange.send(answer)


class IgnoreRange(msgspec.Struct, frozen=True):
    """Send the whole body whatever range was asked for."""

    async def play(self, exchange: Exchange) -> None:
        await exchange.send(exchange.answer(ranged=False))


class WrongRange(msgspec.Struct, frozen=True):
    """Answer a range with one that begins `by` bytes later."""

    by: int = 1

    async def play(self, exchange: Exchange) -> None:
        answer = exchange.answer(shift=self.by)
        await exchange.send(answer)


class Drip(msgspec.Struct, frozen=True):
    """Send the body in pieces of `size` bytes, each on its own."""

    size: int

    async def play(self, exchange: Exchange) -> None:
        answer = exchange.answer()
        await exchange.send_head(answer)
        for start in range(0, len(answer.body), self.size):
            await exchange.send_body(answer.body[start : start + self.size])
            await exchange.breathe()


class Gzip(msgspec.Struct, frozen=True):
    """Compress the body on its way, whether the client accepts that or not; with `after`, cut the
    compressed bytes there.
    """

    after: int | None = None
    label: str = "gzip"

    async def play(self, exchange: Exchange) -> None:
        answer = exchange.answer(ranged=False)
        packed = gzip.compress(answer.body, mtime=0)
        answer.body = packed[: self.after]
        answer.headers["Content-Encoding"] = self.label
        answer.headers["Content-Length"] = str(len(answer.body))
        await exchange.send(answer)


class Garbage(msgspec.Struct, frozen=True):
    """Answer with something that is not HTTP."""

    async def play(self, exchange: Exchange) -> None:
        await exchange.send_body(b"220 smtp.example ready\r\n\r\n", counted=0)
        exchange.close()


class HalfHead(msgspec.Struct, frozen=True):
    """Close the connection in the middle of the head, after a cookie."""

    async def play(self, exchange: Exchange) -> None:
        await exchange.send_body(b"HTTP/1.1 200 OK\r\nSet-Cookie: secret\r\nConte", counted=0)
        exchange.close()


class Drop(msgspec.Struct, frozen=True):
    """Close the connection without an answer."""

    async def play(self, exchange: Exchange) -> None:
        exchange.close()


class MeansWeak(msgspec.Struct, frozen=True):
    """Say "not modified" to any entity tag, and mean a weak one."""

    async def play(self, exchange: Exchange) -> None:
        answer = exchange.answer()
        asked = exchange.seen.headers.get("if-none-match")
        if asked is not None:
            answer.status, answer.body = 304, b""
            answer.headers["ETag"] = f"W/{asked}"
        await exchange.send(answer)


Behaviour = (
    Good
    | Cut
    | Reset
    | Hang
    | Hold
    | Corrupt
    | Lie
    | Unmeasured
    | Chunked
    | Status
    | Redirect
    | Change
    | Then
    | IgnoreRange
    | WrongRange
    | Drip
    | Gzip
    | Garbage
    | HalfHead
    | Drop
    | MeansWeak
)

Script = Sequence[Behaviour]
