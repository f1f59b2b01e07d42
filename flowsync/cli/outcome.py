"""How a command ends: its exit status, and the one line that says why.

0 when all went well, 1 when something failed, 2 on wrong usage or wrong settings, 3 when a sync
went on without something or a verification left something damaged, 129, 130 and 143 when stopped by
SIGHUP, Ctrl-C or SIGTERM. Output that could not be written makes a 0 a 1: what was asked for was
done, and not told. An error that flowsync raises on purpose is one line on stderr; anything else is
a bug and keeps its traceback.
"""

import io
import signal
import sys
from types import FrameType
from typing import Final

import click

from flowsync.cli.output import complain, guard_output, note
from flowsync.errors import FlowsyncError, SettingsError
from flowsync.runtime.signal_received import SignalReceivedError

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
