"""The HTTP server: connections in, requests to the site, answers out. The only file that knows
which HTTP server it is.

1. What is answered is decided elsewhere (`site.py`); here it goes on the wire: bytes, a part of a
   file by the kernel, or a flow with back-pressure.
2. An answer that cannot be finished is broken off by a reset, so that no client takes a part for
   the whole, whatever HTTP it speaks.
3. An answer ends when its client goes away, also while it waits for upstream; what it waits for
   goes on (`missing.py`).
4. Closing stops accepting, lets running answers end for `grace` seconds, and breaks off the rest.
5. Several processes may serve one home, with `share_port` also on one address (`listening.py`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError

from flowsync.engine.engine import Engine
from flowsync.kinds import SourceKind
from flowsync.model.remote import COOL_DOWN
from flowsync.runtime.task_groups import task_group
from flowsync.runtime.threads import in_thread
from flowsync.serve.access import Admit
from flowsync.serve.files.beside import Beside
from flowsync.serve.files.generated import Generated
from flowsync.serve.files.lookups import LookUps
from flowsync.serve.files.sending import UnreadableFileError, reset, send_part
from flowsync.serve.http.answer import Answer, Asked, Flow, OpenPart
from flowsync.serve.http.target import LONGEST_LINE
from flowsync.serve.listening import OpenConnections, listening
from flowsync.serve.metrics import Metrics
from flowsync.serve.missing.missing import FindRemote, Missing
from flowsync.serve.mounts import Mounts
from flowsync.serve.scratch import Scratch
from flowsync.serve.site import PATIENCE, Site

_DEFAULT_LIMITS = (64 * 1024, 16 * 1024)
"""Bytes that a transport may hold before a writer waits, and from which on it goes on."""

_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a server takes on: `connections` at once, and of the times, in seconds, `stall`
    without progress of a client, `idle` until its next request is there, `grace` when closing,
    `cool_down` for which a source is left alone whose bytes were wrong, `patience` with the
    catalog, `lasting` for which files stay that clients may still ask for after the newest version
    has lost them.
    """

    stall: float = 60.0
    idle: float = 75.0
    grace: float = 30.0
    cool_down: float = COOL_DOWN
    patience: float = PATIENCE
    lasting: float = 7 * 24 * 3600.0
    connections: int = 2000


class ContentServer:
    """Serves the versions of an open engine. `async with ContentServer(engine) as server`, then
    `server.addresses` are where.

    `kinds` say what versions have beside their content; `find_remote` gives remotes with their
    credentials. An empty `host` means all addresses. `share_port` lets other processes of the same
    home listen at the same address. `url` is what clients call the server, where pages hold
    addresses; without it, it is what a request's `Host` says. `admit` says who may read what;
    without it everybody may read all.
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
