"""The HTTP origin: one try at a body over HTTP. Only this module and its parts know the HTTP
client: `answer_protocol`, `connections`, `body`.

1. Bodies arrive as they are stored upstream: `Accept-Encoding: identity`, and nothing is unpacked
   unless the request allows compression.
2. A try that follows a broken one asks for the rest with `Range` and `If-Range`. Whatever comes
   instead of that rest begins the body again, unless it says that there is none.
3. Whatever a try raises because of what upstream sent is a `TransferError`, with the URL redacted
   (`body`). What the sink raises, and what a remote's own settings bring about, stays what
   it is.
4. A slot of the host is held from sending the request until the last byte of the answer, for each
   redirect anew. Where the remote limits bytes, the next ones are read when they may come; until
   then the connection fills up and upstream waits.

Decisions: docs/decisions/0011.
"""

import asyncio
import logging
import platform
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from ssl import SSLContext
from typing import Final

import aiohttp
import msgspec

from flowsync.download.http import body, connections, redirects
from flowsync.download.http.body import bring, understand
from flowsync.download.http.connections import Connections, Proxy, Reply, Target
from flowsync.download.http.redirects import Hop
from flowsync.download.pacing.host_limits import HostLimits, Slot
from flowsync.download.transfer import response as answer
from flowsync.download.transfer.attempt import Tally
from flowsync.download.transfer.inflow import begin_inflow
from flowsync.download.transfer.response import Verdict
from flowsync.errors import DeclarationError, FlowsyncError, RedirectError
from flowsync.model.remote import FetchRequest, Received, Remote, Sink
from flowsync.model.url import Origin, redact

_SETUPS: Final = 256
"""How many remotes' preparations are kept: a bound for daemons whose tokens change by the hour."""


_log: Final = logging.getLogger(__name__)

_UNBOUNDED: Final = nullcontext()


class _Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What requests of one remote need: made once, used as long as the remote and its files of
    certificates stay the same.

    `stamp` is that of `files` as they were before they were read.
    """

    greeting: redirects.Greeting
    timeout: aiohttp.ClientTimeout
    ssl: SSLContext | bool
    files: tuple[str, ...]
    stamp: connections.Stamp

    @property
    def fresh(self) -> bool:
        return not self.files or connections.stamp(self.files) == self.stamp


@asynccontextmanager
async def open_http(product: str, limits: HostLimits) -> AsyncIterator["HttpOrigin"]:
    """Open connections for as long as the block runs. `product` is name and version for the
    `User-Agent`.
    """
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
        """Make one try, following redirects. Raise `TransferError`, `SizeMismatchError`, or
        `DeclarationError` for unusable certificates.
        """
        remote = request.remote
        setup = self._setup(remote) or await self._new_setup(remote)
        hop = redirects.start(request.url, remote.url)
        for _ in range(redirects.MAX_REDIRECTS + 1):
            async with (
                self._limits.slot(hop.origin, request, tally) as slot,
                _within(remote, hop),
            ):
                reply = await self._send(request, setup, hop, tally)
                try:
                    if reply.head.status not in redirects.REDIRECTS:
                        return await _receive(reply, hop, request, sink, tally, slot)
                finally:
                    reply.release()
            hop = understand(
                hop.url, redirects.follow, hop, reply.head.location, same_party=request.same_origin
            )
        reason = f"redirects more than {redirects.MAX_REDIRECTS} times"
        raise RedirectError(redact(request.url), reason)

    async def _send(self, request: FetchRequest, setup: _Setup, hop: Hop, tally: Tally) -> Reply:
        sent = redirects.compose(setup.greeting, request, hop, tally)
        through = connections.choose(request.remote, hop.origin)
        if through is not None and through.authorization is not None and hop.origin[0] == "http":
            sent.append(("Proxy-Authorization", through.authorization))
        target = Target(
            url=hop.url,
            origin=hop.origin,
            method=request.method,
            ssl=setup.ssl,
            proxy=None if through is None else through.url,
            proxy_headers=_tunnel_headers(through, hop.origin),
        )
        try:
            return await self._connections.get(target, sent, setup.timeout)
        except FlowsyncError:
            raise
        except Exception as error:  # noqa: BLE001 -- the codecs below may raise anything
            found = error
        # Not in the handler: what is raised while another error is handled carries it along.
        url, cause = redact(hop.url), body.cause_of(found)
        raise body.unanswered(url, found, request.remote) from cause

    def _setup(self, remote: Remote) -> _Setup | None:
        found = self._setups.get(_settings(remote))
        return found if found is not None and found.fresh else None

    async def _new_setup(self, remote: Remote) -> _Setup:
        key = _settings(remote)
        # One at a time: a remote's first requests come in a crowd, and reading the system's CAs
        # costs some 20 ms.
        async with self._setting_up:
            before = self._setups.get(key)
            if before is not None and before.fresh:
                return before
            if len(self._setups) >= _SETUPS:
                self._setups.clear()
            made = self._setups[key] = await self._make_setup(remote, before)
            return made

    async def _make_setup(self, remote: Remote, before: _Setup | None) -> _Setup:
        files = connections.files(remote)
        stamp = connections.stamp(files)
        try:
            context = await asyncio.to_thread(connections.context, remote)
        except DeclarationError as error:
            if before is None:
                raise
            # Certificate and key are renewed one after the other.
            _log.warning("the certificates read before are used on: %s", error)
            return msgspec.structs.replace(before, stamp=stamp)
        return _Setup(
            greeting=redirects.Greeting(self._agent, remote),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=remote.connect_timeout, sock_read=remote.stall_timeout
            ),
            ssl=True if context is None else context,
            files=files,
            stamp=stamp,
        )


def _within(remote: Remote, hop: Hop) -> AbstractAsyncContextManager[None]:
    """Bound a request with its body by the remote's total time-out, if it has one."""
    limit = remote.total_timeout
    return _UNBOUNDED if limit is None else _bounded(limit, remote, hop)


@asynccontextmanager
async def _bounded(limit: float, remote: Remote, hop: Hop) -> AsyncIterator[None]:
    deadline = asyncio.timeout(limit)
    try:
        async with deadline:
            yield
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise body.timeout(redact(hop.url), error, remote) from error


async def _receive(
    reply: Reply, hop: Hop, request: FetchRequest, sink: Sink, tally: Tally, slot: Slot
) -> Received:
    status, reason, found, _ = reply.head
    verdict = understand(
        request.url, answer.judge, request, tally, status, reason, found, time.time()
    )
    if verdict is Verdict.COMPLETE:
        tally.close()
    elif verdict is not Verdict.UNMODIFIED and request.method == "GET":
        if verdict is Verdict.BEGIN and tally.taken:
            await sink.restart()
            tally.reset()
        inflow = understand(request.url, begin_inflow, verdict, found, request, sink, tally)
        if verdict is Verdict.BEGIN:
            inflow.begin()
        await bring(reply, inflow, request, tally, slot)
        inflow.end()
    return Received(
        url=hop.source or request.url,
        size=tally.taken,
        headers=found,
        validators=understand(request.url, answer.validators, found, tally.validator),
        not_modified=verdict is Verdict.UNMODIFIED,
    )


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
    # Only a tunnel for https is greeted on its own; a plain request carries the proxy's header
    # itself.
    if through is None or through.authorization is None or target[0] != "https":
        return None
    return {"Proxy-Authorization": through.authorization}
