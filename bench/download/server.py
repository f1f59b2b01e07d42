"""The upstream of the download benches: answers every GET with as many bytes as its path says, from
a process of its own.

`running()` starts it and gives its URL; `GET /4096/any` brings 4096 bytes. It does the least an
HTTP server can, so that a bench measures the client.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import cast

import uvloop

HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Mon, 06 Jan 2025 10:00:00 GMT\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n"
    b"Last-Modified: Mon, 06 Jan 2025 09:00:00 GMT\r\n"
    b'ETag: "677b-%x"\r\nAccept-Ranges: bytes\r\n\r\n'
)


class Answering(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._transport.writelines(answer(int(head.split(b"/", 2)[1])))


@lru_cache
def answer(size: int) -> tuple[bytes, bytes]:
    return HEAD % (size, size), bytes(size)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def running() -> Iterator[str]:
    """Run the server in a process of its own and give its URL, without a slash at the end."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


if __name__ == "__main__":
    uvloop.run(serve())
