"""How a command ends: its exit status, and the one line that says why.

0 when all went well, 1 when something failed, 2 on wrong usage, 130 and 143 when interrupted by Ctrl-C or SIGTERM. An error that flowsync raises
on purpose is one line on stderr; anything else is a bug and keeps its traceback.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import uvloop

from flowsync.model.errors import FlowsyncError

T = TypeVar("T")


class StoppedError(Exception):
    """The user or the system asked the command to stop, by the signal of that number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_command(command: click.Command) -> int:
    """Run a click command and return its exit status."""
    try:
        status = command.main(prog_name="flowsync", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _interrupted(signal.SIGINT)
    except StoppedError as stopped:
        return _interrupted(stopped.number)
    except FlowsyncError as error:
        complain(str(error))
        return 1
    except BrokenPipeError:
        # Whoever read our output has seen enough. Keep the interpreter from complaining when it flushes at exit.
        sys.stderr.close()
        return 1
    return status if isinstance(status, int) else 0


def run_async(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end in a loop of its own; SIGINT and SIGTERM cancel it and raise `StoppedError` when it has cleaned up."""
    return uvloop.run(_interruptible(work))


def complain(text: str) -> None:
    """Write one line about a failure to stderr."""
    line = " ".join(text.split())
    print(f"flowsync: {line}", file=sys.stderr)


async def _interruptible(work: Callable[[], Awaitable[T]]) -> T:
    task = asyncio.ensure_future(work())
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise StoppedError(received[0]) from None
        raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _interrupted(number: int) -> int:
    complain(f"stopped by {signal.Signals(number).name}; nothing half-done is visible")
    return 128 + number
