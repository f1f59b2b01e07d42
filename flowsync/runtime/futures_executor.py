"""Any `concurrent.futures.Executor` as an executor of flowsync: that of the client of a cluster, or
one of the standard library.

1. What the work raises comes back as a reply. So what a future raises, or that it was cancelled
   unasked, says that the workers are lost: no class of a cluster's client need be known here.
2. The future of a task that goes on cannot be cancelled, and such a task is not told. It is waited
   for where it writes files of this machine; elsewhere it works on in vain until it ends.
3. Workers are trusted. Requests hold the credentials of remotes, and replies are unpickled: the way
   to workers on other machines is encrypted and authenticated, or out of reach of others.
"""

import asyncio
import concurrent.futures
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from flowsync.model.measures import expect_count
from flowsync.runtime.executor import Executor, Work, always_wanted
from flowsync.runtime.failures import Failure, pack_error, unpack_error

_Sent: TypeAlias = "concurrent.futures.Future[bytes | Failure]"


class FuturesExecutor(Executor):
    """Sends work to `futures`, which stays open when this is closed.

    `workers` is how many tasks it does at once, `shares_files` whether they see the files of this
    machine at the same paths. Raises `SettingsError` for less than one worker.
    """

    def __init__(
        self, futures: concurrent.futures.Executor, workers: int, *, shares_files: bool
    ) -> None:
        expect_count("workers", workers, 1)
        self._futures = futures
        self._workers = workers
        self._shares_files = shares_files
        self._sent: dict[asyncio.Future[bytes], _Sent] = {}
        self._closed = False

    @property
    def workers(self) -> int:
        return self._workers

    @property
    def shares_files(self) -> bool:
        return self._shares_files

    def start_soon(self) -> None:
        """Nothing: workers are there, or are begun by `futures`."""

    def submit(self, work: Work, request: bytes) -> "asyncio.Future[bytes]":
        if self._closed:
            raise BrokenExecutor("the executor is closed")
        try:
            sent: _Sent = self._futures.submit(carry_out, work, request)
        except RuntimeError as error:  # as it says that it is broken, or was shut down
            raise BrokenExecutor(str(error)) from error
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[bytes] = loop.create_future()
        self._sent[reply] = sent
        sent.add_done_callback(partial(self._returned, loop, reply))
        return reply

    async def cancel(self, reply: "asyncio.Future[bytes]") -> None:
        sent = self._sent.get(reply)
        if sent is None:
            return
        if sent.cancel() or not self._shares_files:
            reply.cancel()
        else:
            await asyncio.wait((reply,))

    async def close(self) -> None:
        self._closed = True
        for reply in tuple(self._sent):
            await self.cancel(reply)

    def _returned(
        self, loop: asyncio.AbstractEventLoop, reply: "asyncio.Future[bytes]", sent: _Sent
    ) -> None:
        # In a thread of the executor. A loop that is closed has no one who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._hand_over, reply, sent)

    def _hand_over(self, reply: "asyncio.Future[bytes]", sent: _Sent) -> None:
        del self._sent[reply]
        if reply.done():
            return
        try:
            found = sent.result()
        except (Exception, concurrent.futures.CancelledError) as error:  # noqa: BLE001 -- see rule 1
            lost = BrokenExecutor(f"its workers are lost: {error!r}")
            lost.__cause__ = error
            reply.set_exception(lost)
            return
        if isinstance(found, Failure):
            reply.set_exception(unpack_error(found))
        else:
            reply.set_result(found)


def carry_out(work: Work, request: bytes) -> bytes | Failure:
    """Do the work in a worker; return its reply, or what it raised."""
    try:
        return work(request, always_wanted)
    except Exception as error:  # noqa: BLE001 -- raised again where the reply is waited for
        return pack_error(error)
