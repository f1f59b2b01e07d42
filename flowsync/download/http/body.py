"""How the body of an HTTP answer comes from its connection: in chunks by the client, or past it
through a tap.

A large body that goes to a file as it comes takes the tap, because the client's way costs the loop
a copy, a wake-up and a future for every piece, and the loop is what all transfers share. Encrypted,
chunked, compressed and bandwidth-limited bodies come by the client.

Also here: what the HTTP client raises, said in errors of ours.
"""

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

import aiohttp

from flowsync.download.http.answer_protocol import UnintelligibleAnswerError, clean
from flowsync.download.http.connections import Reply
from flowsync.download.http.socket_tap import Tap
from flowsync.download.pacing.host_limits import Slot
from flowsync.download.transfer.attempt import Tally
from flowsync.download.transfer.inflow import Inflow
from flowsync.errors import (
    BrokenBodyError,
    CertificateError,
    FlowsyncError,
    RefusedAnswerError,
    StatusError,
    TransferError,
    TransferTimeoutError,
    UnreachableError,
    UnsupportedUrlError,
)
from flowsync.model.remote import FetchRequest, Fill, Remote
from flowsync.model.url import redact

# What the HTTP client raises, said in errors of ours: with the URL redacted, and without a text
# that may hold a secret.
#
# The client raises more than it says: its own errors, those of the system, and those of the codecs
# and parsers below it for a host or a header that upstream sent. All of them are failures of that
# source. Only what the system said is kept as a cause; the rest may hold headers of the request or
# quote the answer.

P = ParamSpec("P")
T = TypeVar("T")


def understand(url: str, read: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
    """Return what `read` makes of an answer; whatever else than an error of ours it raises becomes
    a `BrokenBodyError`.
    """
    try:
        return read(*args, **more)
    except FlowsyncError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever it is, this answer brought it about
        fault = type(error).__name__
    raise BrokenBodyError(redact(url), f"the answer cannot be understood: {fault}")


def unanswered(url: str, error: Exception, remote: Remote) -> TransferError:
    """Return the error of a request that got no answer. `url` is redacted."""
    if isinstance(error, TimeoutError):
        return timeout(url, error, remote)
    if isinstance(error, aiohttp.InvalidURL):
        return UnsupportedUrlError(url, "malformed")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return StatusError(url, f"the proxy answered {error.status}", error.status)
    if isinstance(error, UnintelligibleAnswerError):
        kind = RefusedAnswerError if error.final else BrokenBodyError
        return kind(url, f"the answer cannot be understood: {error}")
    return _unreachable(url, error)


def broken(error: Exception | None, request: FetchRequest, tally: Tally) -> TransferError:
    """Return the error of an answer whose body ends too early, with what was raised about it, if
    anything was.
    """
    url = redact(request.url)
    if isinstance(error, TimeoutError):
        return timeout(url, error, request.remote)
    return BrokenBodyError(url, f"the body broke off after {tally.taken} bytes")


def stalled(url: str, remote: Remote) -> TransferError:
    """Return the error of a body of which nothing comes any more. `url` is redacted."""
    return TransferTimeoutError(url, f"nothing arrived within {remote.stall_timeout} s")


def timeout(url: str, error: TimeoutError, remote: Remote) -> TransferError:
    """Return the error of the limit that was missed. `url` is redacted."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TransferTimeoutError(url, f"no connection within {remote.connect_timeout} s")
    if isinstance(error, aiohttp.SocketTimeoutError):
        return stalled(url, remote)
    return TransferTimeoutError(url, f"not complete within {remote.total_timeout} s")


def cause_of(error: Exception | None) -> Exception | None:
    """Return the error where it may be kept as a cause: what the system said of a connection, which
    holds no header and no URL.
    """
    return error if isinstance(error, OSError) and not isinstance(error, TimeoutError) else None


def _unreachable(url: str, error: Exception) -> TransferError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return CertificateError(url, f"certificate refused: {error.certificate_error}")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return UnreachableError(url, "the server disconnected before its answer was complete")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return UnreachableError(url, f"the proxy cannot be reached: {error}")
    if isinstance(error, aiohttp.ClientResponseError):
        return UnreachableError(url, "the proxy's answer cannot be understood")
    if isinstance(error, OSError):
        return UnreachableError(url, clean(str(error)))
    return UnreachableError(url, f"no connection could be made: {type(error).__name__}")


LARGE: Final = 1 << 20
"""Bytes of a body that are worth a tap. Chosen: a sync of 5 000 files of mixed sizes took as long
with 256 KiB, 1 MiB, 4 MiB and no taps at all.
"""


async def bring(
    reply: Reply, inflow: Inflow, request: FetchRequest, tally: Tally, slot: Slot
) -> None:
    """Bring the body to its end. Raise `BrokenBodyError`, `TransferTimeoutError`, or what the
    inflow raises.
    """
    fill = _direct(reply, inflow, request)
    if fill is not None and (diverted := reply.divert()) is not None:
        arrived, tap = diverted
        try:
            await inflow.take(arrived)
            await _drain(tap, fill, request, tally)
            if tap.is_clean:
                reply.read_elsewhere()
        finally:
            tap.close()
        return
    await _read(reply.content, inflow, request, tally, slot)


def _direct(reply: Reply, inflow: Inflow, request: FetchRequest) -> Fill | None:
    if reply.length is None or reply.length < LARGE or request.remote.bandwidth_limit is not None:
        return None
    return inflow.direct(reply.length)


async def _drain(tap: Tap, fill: Fill, request: FetchRequest, tally: Tally) -> None:
    remote = request.remote
    while tap.left:
        in_time = await tap.arrival(remote.stall_timeout)
        try:
            await fill(tap.move)
        finally:
            # Also when cancelled: a try after a time-out goes on from what the file has.
            moved = tap.collect()
            tally.add(moved)
        if tap.ended:
            raise broken(tap.error, request, tally) from cause_of(tap.error)
        if not (moved or in_time):
            raise stalled(redact(request.url), remote)


async def _read(
    content: aiohttp.StreamReader, inflow: Inflow, request: FetchRequest, tally: Tally, slot: Slot
) -> None:
    limited = request.remote.bandwidth_limit is not None
    while not content.at_eof():
        failure: Exception | None = None
        try:
            chunk = await content.readany()
        except Exception as error:  # noqa: BLE001 -- all that reads here is the client
            chunk, failure = _rescue(content, error), error
        if chunk:
            await inflow.take(chunk)
            if limited and failure is None:
                await slot.read(len(chunk), last=content.at_eof())
        if failure is not None:
            raise broken(failure, request, tally) from cause_of(failure)


def _rescue(content: aiohttp.StreamReader, error: Exception) -> bytes:
    # The client hides bytes that had arrived before a body broke behind the error; without it they
    # can be had, and need not be fetched again.
    if isinstance(error, TimeoutError) or content.exception() is None:
        return b""
    content.set_exception(None)  # type: ignore[arg-type]
    return content.read_nowait()
