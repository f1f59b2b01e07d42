"""The HTTP origin: one try at a body over HTTP. The only module that knows the HTTP client.

1. Bodies arrive as they are stored upstream: `Accept-Encoding: identity`, and nothing is unpacked unless the request allows compression.
2. A try that follows a broken one asks for the rest with `Range` and `If-Range`. Whatever comes instead of that rest begins the body again, unless it
   says that there is none.
3. What the client library raises leaves as an error of ours, with the URL redacted; where its own text may hold a secret it is not kept as the cause.
4. A slot of the host is held from sending the request until the last byte of the answer, for each redirect anew. Where the remote limits bytes, the
   next ones are read when they may come; until then the connection fills up and upstream waits.

Decided: one pool of connections serves all remotes, because the client keeps them apart by host, TLS context and proxy anyway. There are no cookies:
remotes share the pool, and one must not see another's.

Decided: names are resolved by the system in threads even where a faster resolver is installed, because only the system knows its hosts file.
"""

import asyncio
import platform
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Final

import aiohttp
import msgspec

from flowsync.download import answer, headers, proxy, route, tls
from flowsync.download.answer import Verdict
from flowsync.download.connections import Connections, Reply, Target, UnintelligibleAnswerError
from flowsync.download.inflow import Inflow, begin_inflow
from flowsync.download.limits import HostLimits, Slot
from flowsync.download.origin import Tally
from flowsync.download.proxy import Proxy
from flowsync.download.route import Hop
from flowsync.model.remote import Remote
from flowsync.model.transfer import FetchRequest, Received, Sink
from flowsync.model.transfer_errors import (
    BrokenBodyError,
    CertificateError,
    RedirectError,
    StatusError,
    TransferError,
    TransferTimeoutError,
    UnreachableError,
    UnsupportedUrlError,
)
from flowsync.model.url import Origin, redact

_SETUPS: Final = 256
"""How many remotes' preparations are kept: a bound for daemons whose tokens change by the hour."""

_FOREIGN: Final = (aiohttp.ClientError, OSError)


class _Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What requests of one remote need: made once, used as long as the remote stays the same. Files of certificates are read once."""

    greeting: headers.Greeting
    timeout: aiohttp.ClientTimeout
    ssl: SSLContext | bool


@asynccontextmanager
async def open_http(product: str, limits: HostLimits) -> AsyncIterator["HttpOrigin"]:
    """Open connections for as long as the block runs. `product` is name and version for the `User-Agent`."""
    connector = aiohttp.TCPConnector(limit=0, resolver=aiohttp.ThreadedResolver())
    async with connector:
        yield HttpOrigin(Connections(connector), user_agent(product), limits)


def user_agent(product: str) -> str:
    """Return the `User-Agent` of a product such as `flowsync/1.0`, with what it runs on."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{product} ({python}; {platform.system()}) aiohttp/{aiohttp.__version__}"


class HttpOrigin:
    """Brings bodies over http and https. Made by `open_http`."""

    steady: Final = False

    def __init__(self, connections: Connections, agent: str, limits: HostLimits) -> None:
        self._connections = connections
        self._agent = agent
        self._limits = limits
        self._setups: dict[object, _Setup] = {}
        self._setting_up = asyncio.Lock()

    async def attempt(self, request: FetchRequest, sink: Sink, tally: Tally) -> Received:
        """Make one try, following redirects. Raise `TransferError`, `SizeMismatchError`, or `DeclarationError` for unusable certificates."""
        remote = request.remote
        setup = self._setup(remote) or await self._new_setup(remote)
        hop = route.start(request.url, remote.url)
        for _ in range(route.MAX_REDIRECTS + 1):
            async with (
                self._limits.slot(hop.origin, request, tally) as slot,
                _within(remote, hop),
            ):
                reply = await self._send(request, setup, hop, tally)
                try:
                    if reply.status not in route.REDIRECTS:
                        return await _receive(reply, request, sink, tally, slot)
                    location = reply.headers.get("location")
                finally:
                    reply.release()
            hop = route.follow(hop, location)
        reason = f"redirects more than {route.MAX_REDIRECTS} times"
        raise RedirectError(redact(request.url), reason)

    async def _send(self, request: FetchRequest, setup: _Setup, hop: Hop, tally: Tally) -> Reply:
        sent = headers.compose(setup.greeting, request, hop, tally)
        through = proxy.choose(request.remote, hop.origin)
        if through is not None and through.authorization is not None and hop.origin[0] == "http":
            sent.append(("Proxy-Authorization", through.authorization))
        target = Target(
            url=hop.url,
            origin=hop.origin,
            ssl=setup.ssl,
            proxy=None if through is None else through.url,
            proxy_headers=_tunnel_headers(through, hop.origin),
        )
        try:
            return await self._connections.get(target, sent, setup.timeout)
        except _FOREIGN as error:
            ours = _translate(redact(hop.url), error, request.remote)
            raise ours from (None if _may_tell_secrets(error) else error)

    def _setup(self, remote: Remote) -> _Setup | None:
        return self._setups.get(_settings(remote))

    async def _new_setup(self, remote: Remote) -> _Setup:
        key = _settings(remote)
        # One at a time: a remote's first requests come in a crowd, and reading the system's CAs costs some 20 ms.
        async with self._setting_up:
            if key not in self._setups:
                if len(self._setups) >= _SETUPS:
                    self._setups.clear()
                self._setups[key] = await self._make_setup(remote)
            return self._setups[key]

    async def _make_setup(self, remote: Remote) -> _Setup:
        context = await asyncio.to_thread(tls.context, remote)
        return _Setup(
            greeting=headers.Greeting(self._agent, remote),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=remote.connect_timeout, sock_read=remote.stall_timeout
            ),
            ssl=True if context is None else context,
        )


@asynccontextmanager
async def _within(remote: Remote, hop: Hop) -> AsyncIterator[None]:
    """Bound a request with its body by the remote's total time-out."""
    if remote.total_timeout is None:
        yield
        return
    deadline = asyncio.timeout(remote.total_timeout)
    try:
        async with deadline:
            yield
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise _timeout(redact(hop.url), error, remote) from error


async def _receive(
    reply: Reply, request: FetchRequest, sink: Sink, tally: Tally, slot: Slot
) -> Received:
    found = {name.lower(): value for name, value in reply.headers.items()}
    verdict = answer.judge(request, tally, reply.status, reply.reason, found, time.time())
    if verdict is Verdict.COMPLETE:
        tally.close()
    elif verdict is not Verdict.UNMODIFIED:
        if verdict is Verdict.BEGIN and tally.taken:
            await sink.restart()
            tally.reset()
        inflow = begin_inflow(verdict, found, request, sink, tally)
        await _read(reply.content, inflow, request, tally, slot)
        inflow.end()
    return Received(
        url=request.url,
        size=tally.taken,
        headers=found,
        validators=answer.validators(found, tally.validator),
        not_modified=verdict is Verdict.UNMODIFIED,
    )


async def _read(
    content: aiohttp.StreamReader, inflow: Inflow, request: FetchRequest, tally: Tally, slot: Slot
) -> None:
    limited = request.remote.bandwidth_limit is not None
    while not content.at_eof():
        try:
            chunk = await content.readany()
        except _FOREIGN as error:
            await inflow.take(_rescue(content, error))
            raise _broken(error, request, tally) from error
        if chunk:
            await inflow.take(chunk)
            if limited:
                await slot.read(len(chunk), last=content.at_eof())


def _settings(remote: Remote) -> object:
    return (
        remote.name,
        tuple(remote.headers),
        remote.username,
        remote.password,
        remote.token,
        remote.ca_cert,
        remote.client_cert,
        remote.client_key,
        remote.tls_validation,
        remote.total_timeout,
        remote.connect_timeout,
        remote.stall_timeout,
    )


def _tunnel_headers(through: Proxy | None, target: Origin) -> Mapping[str, str] | None:
    # Only a tunnel for https is greeted on its own; a plain request carries the proxy's header itself.
    if through is None or through.authorization is None or target[0] != "https":
        return None
    return {"Proxy-Authorization": through.authorization}


def _rescue(content: aiohttp.StreamReader, error: Exception) -> bytes:
    # The client hides bytes that had arrived before a body broke behind the error; without it they can be had, and need not be fetched again.
    if isinstance(error, TimeoutError) or content.exception() is None:
        return b""
    content.set_exception(None)  # type: ignore[arg-type]
    return content.read_nowait()


def _may_tell_secrets(error: Exception) -> bool:
    # Their texts hold whole URLs or headers.
    return isinstance(
        error,
        (
            aiohttp.ConnectionTimeoutError,
            UnintelligibleAnswerError,
            aiohttp.InvalidURL,
            aiohttp.ServerDisconnectedError,
        ),
    )


def _translate(url: str, error: Exception, remote: Remote) -> TransferError:
    if isinstance(error, TimeoutError):
        return _timeout(url, error, remote)
    if isinstance(error, aiohttp.InvalidURL):
        return UnsupportedUrlError(url, "malformed")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return StatusError(url, f"the proxy answered {error.status}", error.status)
    if isinstance(error, UnintelligibleAnswerError):
        return BrokenBodyError(url, f"the answer cannot be understood: {error}")
    return _unreachable(url, error)


def _timeout(url: str, error: TimeoutError, remote: Remote) -> TransferError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        missed, limit = "no connection", remote.connect_timeout
    elif isinstance(error, aiohttp.SocketTimeoutError):
        missed, limit = "nothing arrived", remote.stall_timeout
    else:
        missed, limit = "not complete", remote.total_timeout
    return TransferTimeoutError(url, f"{missed} within {limit} s")


def _unreachable(url: str, error: Exception) -> TransferError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return CertificateError(url, f"certificate refused: {error.certificate_error}")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # Its own text may be the half of an answer, with all headers.
        return UnreachableError(url, "the server disconnected before its answer was complete")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return UnreachableError(url, f"the proxy cannot be reached: {error}")
    return UnreachableError(url, str(error))


def _broken(error: Exception, request: FetchRequest, tally: Tally) -> TransferError:
    url = redact(request.url)
    if isinstance(error, TimeoutError):
        return _timeout(url, error, request.remote)
    return BrokenBodyError(url, f"the body broke off after {tally.taken} bytes")
