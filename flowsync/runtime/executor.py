"""The port behind which work is done elsewhere: in processes of this machine, or on others.

1. Bytes go out and bytes come back. What they mean, the port does not know.
2. The work is a function of a module that workers can import. It must bear to be done twice, and
   to be broken off anywhere, because workers die.
3. An executor repeats what it lost as often as it sees fit. What it gives up raises
   `concurrent.futures.BrokenExecutor`.
4. An executor says whether its workers see the files of this machine. Those that send work keep to
   that: to others they send bytes, not paths.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from typing import Protocol, TypeAlias

from flowsync.errors import WorkersLostError

Wanted: TypeAlias = Callable[[], bool]
"""Says whether a reply is still wanted. Work that takes long asks now and then, and ends early when
it is not: no reply is right then."""

Work: TypeAlias = Callable[[bytes, Wanted], bytes]
"""Turns a request into a reply."""


class Executor(Protocol):
    """Does work elsewhere. Used from one event loop. Its opener closes it."""

    @property
    def workers(self) -> int:
        """How many requests are worked on at once."""

    @property
    def shares_files(self) -> bool:
        """Whether workers see the files of this machine at the same paths, and write them for it to
        see.
        """

    def start_soon(self) -> None:
        """Take a hint that requests will come. Calling it again does nothing."""

    def submit(self, work: Work, request: bytes) -> "asyncio.Future[bytes]":
        """Send a request. Any number may be on its way; those that find no worker free wait in the
        order in which they came.

        The future raises what the work raises, as that very class where it can be pickled, and
        `BrokenExecutor` when the workers were lost over it, cannot be had, or the executor is
        closed; a call may raise that too.
        """

    async def cancel(self, reply: "asyncio.Future[bytes]") -> None:
        """Take a request back. One that has not begun never begins. One that goes on is told, if
        the executor can tell it (`Wanted`).

        Return when its work has ended, or cannot touch this machine any more.
        """

    async def close(self) -> None:
        """End all work as `cancel` does, and let go of the workers. Closing twice is closing
        once.
        """


def always_wanted() -> bool:
    """Say that a reply is wanted, where an executor cannot tell."""
    return True


async def ask(executor: Executor, work: Work, request: bytes) -> bytes:
    """Return the reply to a request. Raise what the work raises, and `WorkersLostError` when no
    worker lives to reply.

    Who is cancelled takes the request back: nothing that a caller started outlives it here.
    """
    try:
        reply = executor.submit(work, request)
        try:
            await asyncio.wait((reply,))
        except asyncio.CancelledError:
            reply.add_done_callback(_retrieve)
            await executor.cancel(reply)
            raise
        if reply.cancelled():
            raise BrokenExecutor("the executor took the work back unasked")
        return reply.result()
    except BrokenExecutor as error:
        raise WorkersLostError(f"work for other processes was given up: {error}") from error


def _retrieve(reply: "asyncio.Future[bytes]") -> None:
    # The error of a reply that nothing waits for any more.
    if not reply.cancelled():
        reply.exception()
