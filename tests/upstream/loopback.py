"""A server on loopback in a thread of its own, so that coroutine tests, plain tests and other
processes can all use it.
"""

import asyncio
import ssl
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import Self


class LoopbackServer(ABC):
    """Accepts connections on localhost while its context lasts; leaving it breaks those that are
    still open.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.connections = 0
        """How many connections were accepted so far."""
        self._tls = tls
        self._open: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; it is closed afterwards."""

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name=type(self).__name__
        )
        self._thread.start()
        started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        server = await asyncio.start_server(
            self._connected, "127.0.0.1", 0, ssl=self._tls, backlog=1024
        )
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._ending.wait()
        server.close()
        # What was accepted a moment ago becomes a connection within three turns of the loop.
        for _ in range(3):
            await asyncio.sleep(0)
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        # Two turns of the loop for what the transports have left to do.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = self._loop.create_task(self._handle(reader, writer))
        self._open.add(task)
        # Also where the task is cancelled before its first step.
        task.add_done_callback(lambda _: writer.transport.abort())
        task.add_done_callback(self._open.discard)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The other side may go away at any time, and so may this one.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.handle(reader, writer)
            writer.close()
            await writer.wait_closed()
