"""Where a server listens, and who may listen there beside it: only processes of the same home.

1. Without `shared`, an address that is in use is an error, whoever uses it.
2. With it, each process holds a locked file, named by its socket, in a folder of the home before it
   listens. Once it listens, every other socket that listens at the port must have such a file in
   that folder. So of two homes that begin at once at least one gives up.

Decisions: docs/decisions/0016.

The open connections of a server: how many there may be, and how long one may keep the server
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
import errno
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

from flowsync.runtime import descriptors
from flowsync.runtime.threads import in_thread
from flowsync.serve.metrics import Metrics
from flowsync.store.staging import claim

_BACKLOG: Final = 1024
_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENS: Final = "0A"
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

Factory = Callable[[], asyncio.Protocol]


class _Socket(NamedTuple):
    """A socket in the kernel's table: its number, its port, its address as the table writes it."""

    number: int
    port: int
    address: str


@asynccontextmanager
async def listening(
    factory: Factory, host: str, port: int, *, shared: str | None = None
) -> AsyncIterator[asyncio.Server]:
    """Listen while the block runs; an empty host means all addresses. `shared` is the folder in
    which processes that may share the address say so.

    Raise `OSError` when the address cannot be had.
    """
    with ExitStack() as held:
        server = await _bound(factory, host, port, shared=shared is not None)
        try:
            sockets = [_socket(each) for each in server.sockets]
            if shared is not None:
                await in_thread(_sign, shared, sockets, held)
                await in_thread(_check, shared, sockets)
            await server.start_serving()
            if shared is not None:
                await in_thread(_check, shared, sockets)
            yield server
        finally:
            server.close()


async def _bound(factory: Factory, host: str, port: int, *, shared: bool) -> asyncio.Server:
    loop = asyncio.get_running_loop()

    async def bind(host: str) -> asyncio.Server:
        return await loop.create_server(
            factory, host, port, backlog=_BACKLOG, reuse_port=shared, start_serving=False
        )

    try:
        return await bind(host)
    except OSError as error:
        if host or error.errno not in _NO_IPV6:
            raise
        return await bind("0.0.0.0")  # noqa: S104 - asked for


def _sign(folder: str, sockets: Sequence[_Socket], held: ExitStack) -> None:
    """Hold a file for each of the sockets."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for mine in sockets:
        path = _file(folder, mine.number)
        lock = claim(path, os.O_CREAT)
        if lock is not None:
            held.callback(_release, path, lock)


def _check(folder: str, sockets: Sequence[_Socket]) -> None:
    """Raise `OSError` when a socket listens where ours do for which no process of this home holds a
    file.
    """
    own = {mine.number for mine in sockets}
    for other in _all_listening():
        beside = other.number not in own and any(_meet(other, mine) for mine in sockets)
        if beside and not _is_held(_file(folder, other.number)):
            raise OSError(
                errno.EADDRINUSE, "another program listens there, or flowsync with another home"
            )


def _all_listening() -> Iterator[_Socket]:
    for table in _TABLES:
        # Without IPv6 the kernel has no table of it.
        with suppress(FileNotFoundError), open(table, encoding="ascii") as lines:
            next(lines)
            for line in lines:
                fields = line.split()
                address, _, port = fields[1].partition(":")
                if fields[3] == _LISTENS:
                    yield _Socket(int(fields[9]), int(port, 16), address)


def _socket(bound: Any) -> _Socket:
    """Return a bound socket as the kernel's table shows it."""
    host, port = bound.getsockname()[:2]
    packed = socket.inet_pton(bound.family, host.partition("%")[0])
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return _Socket(os.fstat(bound.fileno()).st_ino, port, "".join(f"{word:08X}" for word in words))


def _meet(one: _Socket, other: _Socket) -> bool:
    """Say whether a connection may come to either of them."""
    everywhere = not one.address.strip("0") or not other.address.strip("0")
    return one.port == other.port and (everywhere or one.address == other.address)


def _file(folder: str, number: int) -> str:
    return f"{folder}/{number}.listening"


def _is_held(path: str) -> bool:
    if not os.path.exists(path):
        return False
    lock = claim(path)
    if lock is None:
        return True
    _release(path, lock)
    return False


def _release(path: str, lock: int) -> None:
    with suppress(OSError):
        os.unlink(path)
    os.close(lock)


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
