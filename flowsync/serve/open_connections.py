"""The open connections of a server: how many there may be, and how long one may keep the server
waiting for a request.

1. Over the limit a connection is told so and closed; those that are open go on. The limit leaves
   descriptors for files, whatever was asked for. The log has a line when it is reached first.
2. From the moment it is open, and again from the end of each answer, a connection has `idle`
   seconds until its next request is there whole. So neither a silent client nor one that sends its
   headers letter by letter keeps a place for ever. While it is answered, the sender bounds its
   stalls.

Knows no HTTP server: a connection is any object, with the transport that ends it.
"""

import asyncio
import logging
from collections.abc import Hashable
from typing import Final

from flowsync.runtime import descriptors
from flowsync.serve.metrics import Metrics

REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 5\r\n"
    b"Connection: close\r\n\r\n"
)

_DESCRIPTORS_EACH: Final = 4
"""What a connection may take: itself, once more while the kernel sends, its file, and one for all
else.
"""

_DESCRIPTORS_ASIDE: Final = 64
"""What the engine takes: its store, its database sessions and its processes."""

_log = logging.getLogger(__name__)


class OpenConnections:
    """The connections of one server; used from its loop."""

    def __init__(self, limit: int, idle: float, metrics: Metrics) -> None:
        self._descriptors = descriptors.allowed()
        possible = (self._descriptors - _DESCRIPTORS_ASIDE) // _DESCRIPTORS_EACH
        self._limit = min(limit, max(1, possible))
        self._idle = idle
        self._metrics = metrics
        self._open: dict[Hashable, asyncio.Transport] = {}
        self._waiting: dict[Hashable, float] = {}

    def opened(self, connection: Hashable, transport: asyncio.Transport) -> None:
        """Take a connection, or refuse it when there are too many."""
        if len(self._open) >= self._limit:
            self._refused()
            transport.write(REFUSAL)
            transport.close()
            return
        self._open[connection] = transport
        self._metrics.open_connections = len(self._open)
        self.waits(connection)

    def closed(self, connection: Hashable) -> None:
        """Forget a connection."""
        self._open.pop(connection, None)
        self._waiting.pop(connection, None)
        self._metrics.open_connections = len(self._open)

    def works(self, connection: Hashable) -> None:
        """Note that a request of the connection is being answered."""
        self._waiting.pop(connection, None)

    def waits(self, connection: Hashable) -> None:
        """Note that the next request is the client's to send."""
        if connection in self._open:
            self._waiting[connection] = asyncio.get_running_loop().time()

    def _refused(self) -> None:
        if not self._metrics.refused_connections:
            _log.warning(
                "%d connections are open, the most with %d open files: others are refused",
                self._limit,
                self._descriptors,
            )
        self._metrics.refused_connections += 1

    async def end_idle_ones(self) -> None:
        """End those that wait for too long, again and again until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, self._idle / 4))
            late = loop.time() - self._idle
            for connection in [each for each, since in self._waiting.items() if since < late]:
                self._waiting.pop(connection, None)
                self._open[connection].abort()
