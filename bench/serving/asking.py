"""A client that does as little as possible, so that it is the servers that are measured."""

import asyncio
from urllib.parse import urlsplit

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def ask_all(url: str, size: int, requests: int, connections: int) -> None:
    """Read a file of `size` bytes so many times over so many kept connections."""
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_ask_again(url, size, requests // connections))


async def connect(url: str) -> Connection:
    """Connect to the host of a URL; a server that has just said where it listens may be a moment
    from doing so.
    """
    place = urlsplit(url)
    for _ in range(100):
        try:
            return await asyncio.open_connection(place.hostname, place.port, limit=1 << 20)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
    return await asyncio.open_connection(place.hostname, place.port, limit=1 << 20)


async def first_byte(connection: Connection, url: str) -> None:
    """Ask for a file and wait for its first byte."""
    reader, writer = connection
    place = urlsplit(url)
    writer.write(f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head[:16], head
    await reader.readexactly(1)


async def rest(connection: Connection, size: int) -> None:
    """Read the rest of a file whose first byte was read."""
    missing = size - 1
    while missing:
        piece = await connection[0].read(min(missing, 1 << 20))
        assert piece
        missing -= len(piece)


async def _ask_again(url: str, size: int, requests: int) -> None:
    connection = await connect(url)
    for _ in range(requests):
        await first_byte(connection, url)
        await rest(connection, size)
    connection[1].close()
