"""The way from the event loop into a thread or a process and back, for work on files.

Decisions: docs/decisions/0007.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

R = TypeVar("R")


async def in_thread(job: Callable[..., R], *arguments: object) -> R:
    """Run the blocking job in a thread and return its result; when cancelled, first wait until the
    job has ended.
    """
    return await finished(asyncio.get_running_loop().run_in_executor(None, job, *arguments))


async def opened_in_thread(
    opening: Callable[..., R], *arguments: object, close: Callable[[R], object]
) -> R:
    """Return what the blocking job opens, as `in_thread`; when cancelled, first let a thread close
    it, since the caller never gets it.
    """
    future = asyncio.get_running_loop().run_in_executor(None, opening, *arguments)
    try:
        return await finished(future)
    except asyncio.CancelledError:
        if not future.cancelled() and future.exception() is None:
            await in_thread(close, future.result())
        raise


async def finished(future: "asyncio.Future[R]") -> R:
    """Return the result of a job that runs elsewhere; when cancelled, first wait until the job has
    ended.
    """
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):  # it is cancelled already
                await asyncio.wait((future,))
        if not future.cancelled():
            # Nothing is told of its failure any more, and the loop need not complain of that.
            future.exception()
        raise
