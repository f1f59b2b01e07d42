"""A content server on loopback, and a client that speaks HTTP by hand: what is on the wire is what
is looked at.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping

import msgspec
import pytest

from flowsync import Engine
from flowsync.serve.app import ContentServer
from flowsync.sources.file import SOURCE
from tests.integration.sync.conftest import engine as engine
from tests.integration.sync.conftest import file_sync as file_sync
from tests.integration.sync.conftest import publish as publish


class Reply(msgspec.Struct, frozen=True):
    """What came back. Names of headers are lower-case; `complete` says that the body has the length
    that was announced, or its end.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool


class Client:
    """Asks a server, each time over a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def get(
        self, target: str, headers: Mapping[str, str] | None = None, *, method: str = "GET"
    ) -> Reply:
        """Ask for a target as it is written."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        return await self.say("\r\n".join([*lines, "", ""]).encode(), head=method == "HEAD")

    async def say(self, request: bytes, *, head: bool = False) -> Reply:
        """Send bytes, and read what comes until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await read_reply(reader, head=head)
        finally:
            writer.close()


async def read_reply(reader: asyncio.StreamReader, *, head: bool = False) -> Reply:
    """Read one answer."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = [line.partition(": ") for line in lines[1:] if line]
    headers = {name.lower(): value for name, _, value in fields}
    status = int(lines[0].split()[1])
    if head or status == 304:
        return Reply(status, headers, b"", complete=True)
    body, complete = await _read_body(reader, headers)
    return Reply(status, headers, body, complete)


async def _read_body(
    reader: asyncio.StreamReader, headers: Mapping[str, str]
) -> tuple[bytes, bool]:
    body = b""
    try:
        if "content-length" in headers:
            missing = int(headers["content-length"])
            while missing and (piece := await reader.read(min(missing, 1 << 20))):
                body += piece
                missing -= len(piece)
            return body, missing == 0
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return body, True
    except (OSError, asyncio.IncompleteReadError):
        return body, False


ON_DEMAND = {"policy": "on_demand"}
"""Fields of a remote whose bytes are fetched at the first request."""


async def settled(server: ContentServer) -> None:
    """Wait until the server fetches nothing any more."""
    # No event of the product's tells this: nobody but a test waits for it.
    while server.metrics.running_fetches:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def asked(server: ContentServer) -> None:
    """Wait until the server brings something."""
    # No event of the product's tells this: nobody but a test waits for it.
    while not server.metrics.running_fetches:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[ContentServer]:
    """Give a server of the engine's home that publishes manifests."""
    async with ContentServer(engine, kinds=[SOURCE]) as server:
        yield server


@pytest.fixture
def client(server: ContentServer) -> Client:
    """Give a client of the server."""
    return Client(server.addresses[0][1])
