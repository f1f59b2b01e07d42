"""How the body of an HTTP answer comes from its connection: in chunks by the client, or past it
through a tap.

A large body that goes to a file as it comes takes the tap, because the client's way costs the loop
a copy, a wake-up and a future for every piece, and the loop is what all transfers share. Encrypted,
chunked, compressed and bandwidth-limited bodies come by the client.
"""

from typing import Final

import aiohttp

from flowsync.download.http.client_errors import broken, cause_of, stalled
from flowsync.download.http.connections import Reply
from flowsync.download.http.socket_tap import Tap
from flowsync.download.pacing.host_limits import Slot
from flowsync.download.transfer.attempt import Tally
from flowsync.download.transfer.inflow import Inflow
from flowsync.model.fetch import Fill
from flowsync.model.remote import FetchRequest
from flowsync.model.url import redact

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
