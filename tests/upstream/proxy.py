"""An HTTP proxy on loopback: forwards plain requests and opens tunnels, and notes what it was asked
and by whom.
"""

import asyncio
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from tests.upstream.exchange import Seen, read_request
from tests.upstream.loopback import LoopbackServer


class Proxy(LoopbackServer):
    """A proxy, one request a connection. With `authorization`, others are answered 407."""

    def __init__(self, authorization: str | None = None) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self._authorization = authorization
        self._held = ""
        self._released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def hold(self, part: str) -> None:
        """Let requests of which the target has this part wait for `release`."""
        self._held = part

    def release(self) -> None:
        """Let requests that wait, and all later ones, go on."""
        self._released.set()

    async def holds(self) -> None:
        """Wait until a request is held."""
        while not any(self._held in seen.target for seen in self.seen):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = await read_request(reader)
        self.seen.append(seen)
        if seen.headers.get("proxy-authorization") != self._authorization:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        if self._held and self._held in seen.target:
            await asyncio.to_thread(self._released.wait)
        if seen.method == "CONNECT":
            await _tunnel(seen.target, reader, writer)
        else:
            await _forward(seen, writer)


async def _tunnel(target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, _, port = target.rpartition(":")
    there, out = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, out))
            group.create_task(_copy(there, writer))
    finally:
        out.close()


async def _forward(seen: Seen, writer: asyncio.StreamWriter) -> None:
    target = urlsplit(seen.target)
    there, out = await asyncio.open_connection(target.hostname, target.port)
    try:
        out.write(_forwarded(seen))
        await _copy(there, writer)
    finally:
        out.close()


def _forwarded(seen: Seen) -> bytes:
    target = urlsplit(seen.target)
    path = f"{target.path}?{target.query}" if target.query else target.path
    kept = [f"{name}: {value}" for name, value in seen.headers.items() if "proxy" not in name]
    lines = [f"{seen.method} {path} HTTP/1.1", *kept, "connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    # Either side may leave whenever it likes.
    with suppress(OSError):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
        target.write_eof()
