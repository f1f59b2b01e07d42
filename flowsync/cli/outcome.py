"""How a command ends: its exit status, and the one line that says why.

0 when all went well, 1 when something failed, 2 on wrong usage or wrong settings, 3 when a sync
went on without something or a verification left something damaged, 129, 130 and 143 when stopped by
SIGHUP, Ctrl-C or SIGTERM. Output that could not be written makes a 0 a 1: what was asked for was
done, and not told. An error that flowsync raises on purpose is one line on stderr; anything else is
a bug and keeps its traceback.

Also here: coroutines that signals stop, and the command as the owner of its home.
"""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

import click
import uvloop

from flowsync.cli.output import complain, guard_output, note
from flowsync.engine.home import owner_to_become
from flowsync.errors import FlowsyncError, SettingsError
from flowsync.runtime import run_as
from flowsync.runtime.garbage import collect_rarely
from flowsync.runtime.tasks import SignalReceivedError

STOPPING: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""The signals that ask a command to stop."""


def run_command(command: click.Command) -> int:
    """Run a click command and return its exit status."""
    out = guard_output()
    for number in signals_to_heed():
        signal.signal(number, _stop)
    status = _run(command)
    sys.stdout.flush()
    if out.complaint is not None:
        complain(out.complaint)
    return status or (0 if out.lost is None else 1)


def signals_to_heed() -> list[int]:
    """Return the signals that stop a command: all but a SIGHUP that `nohup` lets it ignore."""
    return [
        number
        for number in STOPPING
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]


def _run(command: click.Command) -> int:
    try:
        status = command.main(prog_name="flowsync", standalone_mode=False)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        note(shown.getvalue().rstrip("\n"))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _interrupted(signal.SIGINT)
    except SignalReceivedError as stopped:
        return _interrupted(stopped.number)
    except FlowsyncError as error:
        complain(str(error))
        return 2 if isinstance(error, SettingsError) else 1
    return status if isinstance(status, int) else 0


def _stop(number: int, _frame: FrameType | None) -> None:
    raise SignalReceivedError(number)


def _interrupted(number: int) -> int:
    complain(f"stopped by {signal.Signals(number).name}; nothing half-done is visible")
    return 128 + number


# Coroutines that Ctrl-C, SIGTERM and SIGHUP stop: cancelled, cleaned up, and told apart from what
# fails by itself.

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

    A SIGHUP raises `SignalReceivedError`: the terminal is gone, and nobody meant it to end.
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


# The command as the owner of the home: what it makes there belongs to that user, and it may still
# do all that root may.
#
# Root starts the same command again under the other identity, before it has done anything: so
# threads and worker processes have it too. Exports are links into the store where they can be, so
# they belong to the owner as well.

_TRIAL_SECONDS: Final = 30


def become_owner(home: Path) -> None:
    """Turn into the same command as the owner of the home, when root runs it and the home is
    another user's.

    Return when there is nothing to do, and where the kernel does not let root do that; the engine
    says then what is wrong.
    """
    owner = owner_to_become(home)
    if owner is None or not sys.orig_argv:
        return
    start = [sys.executable, "-I", "-S", run_as.__file__, f"account:{owner[0]}:{owner[1]}+all", ""]
    if _works(start):
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [*start, sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell is meant


def _works(start: list[str]) -> bool:
    try:
        tried = subprocess.run(
            [*start, sys.executable, "-I", "-S", "-c", ""],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_TRIAL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0
