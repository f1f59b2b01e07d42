"""Coroutines that Ctrl-C and SIGTERM stop: cancelled, cleaned up, and told apart from what fails by itself."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import uvloop

from flowsync.cli.outcome import StoppedError
from flowsync.pipeline.collector import collect_rarely

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a loop of its own and return its result.

    A signal cancels it; when it has cleaned up, `StoppedError` is raised. A second signal cancels the cleaning up.
    """
    # By now nearly all modules are imported, and this process is the command line's own.
    collect_rarely()
    return uvloop.run(_interruptible(work))


def run_until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that goes on until a signal comes: for it, being stopped is the way to end well."""
    with suppress(StoppedError):
        run_async(work)


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await work
    except BaseException as error:
        # What fails while it is being stopped fails because it is being stopped.
        if received:
            raise StoppedError(received[0]) from error
        raise
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
