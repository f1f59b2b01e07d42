"""Coroutines that Ctrl-C, SIGTERM and SIGHUP stop: cancelled, cleaned up, and told apart from what
fails by itself.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from flowsync.cli.outcome import signals_to_heed
from flowsync.runtime.garbage import collect_rarely
from flowsync.runtime.signal_received import SignalReceivedError

T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a loop of its own and return its result.

    A signal cancels it; when it has cleaned up, `SignalReceivedError` is raised. A second signal
    cancels the cleaning up.
    """
    # By now nearly all modules are imported, and this process is the command line's own.
    collect_rarely()
    try:
        return uvloop.run(_interruptible(work))
    finally:
        # A signal may have come before the loop began.
        work.close()


def run_until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that goes on until Ctrl-C or SIGTERM comes: for it, that is the way to end
    well.

    A SIGHUP raises `SignalReceivedError`: the terminal is gone, and it was not meant to end.
    """
    try:
        run_async(work)
    except SignalReceivedError as stopped:
        if stopped.number == signal.SIGHUP:
            raise


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    before = {number: signal.getsignal(number) for number in signals_to_heed()}
    for number in before:
        loop.add_signal_handler(number, stop, number)
    try:
        return await work
    except BaseException as error:
        # What fails while it is being stopped fails because it is being stopped.
        if received:
            raise SignalReceivedError(received[0]) from error
        raise
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
