"""The HTTP server: connections in, requests to the site, answers out. The only file that knows
which HTTP server it is.

1. What is answered is decided elsewhere (`site.py`); here it goes on the wire: bytes, a part of a
   file by the kernel, or a flow with back-pressure.
2. An answer that cannot be finished is broken off by a reset, so that no client takes a part for
   the whole, whatever HTTP it speaks.
3. An answer ends when its client goes away, also while it waits for upstream; what it waits for
   goes on (`missing.py`).
4. Closing stops accepting, lets running answers end for `grace` seconds, and breaks off the rest.
5. Several processes may serve one home, with `share_port` also on one address (`listening`).

Also here: where a server listens, and its open connections. They are the edge at which a client is
met.
"""

import asyncio
import errno
import logging
import os
import socket
import struct
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError

from flowsync.engine.engine import Engine
from flowsync.kinds import SourceKind
from flowsync.model.measures import expect_count, expect_measure
from flowsync.model.remote import COOL_DOWN
from flowsync.runtime import descriptors
from flowsync.runtime.tasks import in_thread, task_group
from flowsync.serve.access import Admit
from flowsync.serve.files.beside import Beside
from flowsync.serve.files.generated import Generated
from flowsync.serve.files.lookups import LookUps
from flowsync.serve.files.sending import UnreadableFileError, reset, send_part
from flowsync.serve.http.answer import Answer, Asked, Flow, OpenPart
from flowsync.serve.http.request import LONGEST_LINE
from flowsync.serve.metrics import Metrics
from flowsync.serve.missing.missing import FindRemote, Missing
from flowsync.serve.scratch import Scratch
from flowsync.serve.site import PATIENCE, Mounts, Site
from flowsync.store.staging import claim

# Where a server listens, and who may listen there beside it: only processes of the same home.
#
# 1. Without `shared`, an address that is in use is an error, whatever uses it.
# 2. With it, each process holds a locked file, named by its socket, in a folder of the home before
#    it listens. Once it listens, every other socket that listens at the port must have such a file
#    in that folder. So of two homes that begin at once at least one gives up.
#
# The reasons stand in docs/decisions/0016.

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


# The open connections of a server: how many there may be, and how long one may keep the server
# waiting for a request.
#
# 1. Over the limit a connection is told so and closed; those that are open go on. The limit leaves
#    descriptors for files, whatever was asked for. The log has a line when it is reached first.
# 2. From the moment it is open, and again from the end of each answer, a connection has `idle`
#    seconds until its next request is there whole. So neither a silent client nor one that sends
#    its headers letter by letter keeps a place for ever. While it is answered, the sender bounds
#    its stalls.
#
# Knows no HTTP server: a connection is any object, with the transport that ends it.

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


_DEFAULT_LIMITS = (64 * 1024, 16 * 1024)
"""Bytes that a transport may hold before a writer waits, and from which on it goes on."""

_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a server takes on: `connections` at once, and of the times, in seconds, `stall`
    without progress of a client, `idle` until its next request is there, `grace` when closing,
    `cool_down` for which a source is left alone whose bytes were wrong, `patience` with the
    catalog, `lasting` for which files stay that clients may still ask for after the newest version
    has lost them. Raises `SettingsError` for what is no such number.
    """

    stall: float = 60.0
    idle: float = 75.0
    grace: float = 30.0
    cool_down: float = COOL_DOWN
    patience: float = PATIENCE
    lasting: float = 7 * 24 * 3600.0
    connections: int = 2000

    def __post_init__(self) -> None:
        for field in ("stall", "idle", "patience"):
            expect_measure(f"{field} of a server's limits", getattr(self, field))
        wanted = "a number of seconds"
        for field in ("grace", "cool_down", "lasting"):
            expect_measure(f"{field} of a server's limits", getattr(self, field), wanted, zero=True)
        expect_count("connections of a server's limits", self.connections, 1)


class ContentServer:
    """Serves the versions of an open engine. `async with ContentServer(engine) as server`, then
    `server.addresses` are where.

    `kinds` say what versions have beside their content; `find_remote` gives remotes with their
    credentials. An empty `host` means all addresses. `share_port` lets other processes of the same
    home listen at the same address. `url` is what clients call the server, where pages hold
    addresses; without it, it is what a request's `Host` says. `admit` says who may read what;
    without it every client may read all. Raises `SettingsError` for a port that cannot be.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        kinds: Sequence[SourceKind] = (),
        limits: ServerLimits | None = None,
        find_remote: FindRemote | None = None,
        share_port: bool = False,
        url: str | None = None,
        admit: Admit | None = None,
    ) -> None:
        expect_count("port", port, 0, 65535)
        self.metrics = Metrics()
        self._engine = engine
        self._host = host
        self._port = port
        self._kinds = tuple(kinds)
        self._url = url if url is None or url.endswith("/") else f"{url}/"
        self._limits = limits or ServerLimits()
        self._find_remote = find_remote
        self._share_port = share_port
        self._admit = admit
        self._connections = OpenConnections(
            self._limits.connections, self._limits.idle, self.metrics
        )
        self._resources = AsyncExitStack()
        self._listening: asyncio.Server
        self._site: Site

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as resources:
            scratch = await resources.enter_async_context(Scratch(self._engine.store))
            group = await resources.enter_async_context(task_group())
            layouts = [kind.layout for kind in self._kinds]
            generated = Generated(self._engine, layouts, scratch, group)
            resources.callback(generated.stop)
            missing = Missing(
                self._engine,
                scratch,
                group,
                self.metrics,
                find_remote=self._find_remote,
                cool_down=self._limits.cool_down,
            )
            resources.callback(missing.stop)
            ending = group.create_task(self._connections.end_idle_ones())
            resources.callback(ending.cancel)
            patience = self._limits.patience
            mounts = Mounts(layouts)
            serving = self._engine.catalog.serving
            look_ups = LookUps(serving, group, patience, mounts.described)
            self._site = Site(
                self._engine,
                Beside(generated, self._url),
                mounts,
                missing,
                look_ups,
                self.metrics,
                patience=patience,
                lasting=self._limits.lasting,
                admit=self._admit,
            )
            await self._listen(resources)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._resources.aclose()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where the server listens: hosts and ports."""
        return [bound.getsockname()[:2] for bound in self._listening.sockets]

    async def _listen(self, resources: AsyncExitStack) -> None:
        server = _Server(
            self._handle,
            connections=self._connections,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=self._limits.idle,
            lingering_time=0.0,
            max_line_size=LONGEST_LINE,
            auto_decompress=False,
            logger=_ServerLog(logging.getLogger("aiohttp.server"), {}),
        )
        shared = str(self._engine.home / "listening") if self._share_port else None
        self._listening = await resources.enter_async_context(
            listening(server, self._host, self._port, shared=shared)
        )
        resources.push_async_callback(self._close, server)

    async def _close(self, server: web.Server) -> None:
        self._listening.close()
        # One turn of the loop: what was accepted already begins to be handled.
        await asyncio.sleep(0)
        server.pre_shutdown()
        await server.shutdown(self._limits.grace)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.metrics.running_requests += 1
        self._connections.works(request.protocol)
        try:
            chunks = request.version >= HttpVersion11
            asked = Asked(request.method, request.raw_path, _combined(request), chunks)
            answer = await self._site.answer(asked)
            self.metrics.requests[_method(request), answer.status] += 1
            return await self._send(request, answer)
        finally:
            self.metrics.running_requests -= 1
            self._connections.waits(request.protocol)

    async def _send(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        if isinstance(answer.body, bytes) and (answer.body or not answer.length):
            if request.method != "HEAD":
                self.metrics.sent_bytes += len(answer.body)
                return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
            answer.body = b""
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_length = answer.length
        try:
            await self._send_body(request, response, answer)
        except OSError as error:
            self._break(request, error)
        return response

    async def _send_body(
        self, request: web.BaseRequest, response: web.StreamResponse, answer: Answer
    ) -> None:
        if isinstance(answer.body, bytes):
            await response.prepare(request)
        else:
            try:
                await self._send_stream(request, response, answer.body)
            except UnreadableFileError as failure:
                await self._send_rest(request, response, answer, failure)
            finally:
                await _close(answer.body)
        await response.write_eof()

    async def _send_stream(
        self, request: web.BaseRequest, response: web.StreamResponse, body: OpenPart | Flow
    ) -> None:
        if isinstance(body, OpenPart):
            await self._send_file(request, response, body)
        else:
            await self._send_flow(request, response, body)

    async def _send_rest(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        answer: Answer,
        failure: UnreadableFileError,
    ) -> None:
        if answer.rest is None:
            raise ConnectionAbortedError(failure.reason) from failure
        body = await answer.rest(failure.offset)
        try:
            await self._send_flow(request, response, body)
        finally:
            await body.leave()

    async def _send_flow(
        self, request: web.BaseRequest, response: web.StreamResponse, body: Flow
    ) -> None:
        await response.prepare(request)
        async with aclosing(body.pieces) as pieces:
            async for piece in pieces:
                async with asyncio.timeout(self._limits.stall):
                    await response.write(piece)
                self.metrics.sent_bytes += len(piece)

    async def _send_file(
        self, request: web.BaseRequest, response: web.StreamResponse, body: OpenPart
    ) -> None:
        writer = await response.prepare(request)
        transport = request.transport
        if transport is None or transport.is_closing() or writer is None:
            raise ConnectionResetError("the client is gone")
        # No buffer: the headers must be out before the kernel writes behind them.
        transport.set_write_buffer_limits(high=0)
        try:
            async with asyncio.timeout(self._limits.stall):
                await writer.drain()
            if transport.is_closing():
                # Its number may be another connection's by now.
                raise ConnectionResetError("the client is gone")
            await send_part(transport.get_extra_info("socket").fileno(), body, self._limits.stall)
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits(*_DEFAULT_LIMITS)
        self.metrics.sent_bytes += body.part.count

    def _break(self, request: web.BaseRequest, error: Exception) -> None:
        """End the connection in a way that no client can take for the end of a body."""
        self.metrics.broken_answers += 1
        _log.info("broke off the answer to %s: %s", request.raw_path, error)
        if request.transport is not None:
            reset(request.transport)


class _ServerLog(logging.LoggerAdapter[logging.Logger]):
    """The HTTP server's log. What a client sent that is no request is no failure of the server."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **how: Any) -> None:
        if isinstance(exc_info, HttpProcessingError):
            self.debug(f"{msg}: %s", *args, type(exc_info).__name__)
        else:
            self.error(msg, *args, exc_info=exc_info, **how)


class _Server(web.Server):
    """Tells `connections` of each connection that comes and goes."""

    def __init__(self, handler: _Handler, *, connections: OpenConnections, **options: Any) -> None:
        super().__init__(handler, **options)
        self._watched = connections

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._watched.opened(handler, transport)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        self._watched.closed(handler)
        super().connection_lost(handler, exc)


async def _close(body: OpenPart | Flow) -> None:
    if isinstance(body, OpenPart):
        await in_thread(body.file.close)
    else:
        await body.leave()


def _combined(request: web.BaseRequest) -> Mapping[str, str]:
    """Return the headers, each name once: several lines of a name are one list (RFC 9110, 5.3)."""
    headers = request.headers
    names = {name.lower() for name in headers}
    if len(names) == len(headers):
        return headers
    combined = headers.copy()
    for name in names:
        combined[name] = ", ".join(headers.getall(name))
    return combined


def _method(request: web.BaseRequest) -> str:
    """Return the method as it is counted: a client's inventions must not make the table of counters
    grow.
    """
    return request.method if request.method in {"GET", "HEAD"} else "other"
