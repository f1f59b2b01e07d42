"""How a command ends: its exit status, and the one line that says why.

0 when all went well, 1 when something failed, 2 on wrong usage or wrong settings, 3 when a sync went on without something or a verification left
something damaged, 130 and 143 when interrupted by Ctrl-C or SIGTERM. An error that flowsync raises on purpose is one line on stderr; anything else
is a bug and keeps its traceback.
"""

import os
import signal
import sys

import click

from flowsync.cli.text import one_line
from flowsync.model.errors import FlowsyncError, SettingsError


class StoppedError(Exception):
    """The user or the system asked the command to stop, by the signal of that number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_command(command: click.Command) -> int:
    """Run a click command and return its exit status."""
    try:
        status = command.main(prog_name="flowsync", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _interrupted(signal.SIGINT)
    except StoppedError as stopped:
        return _interrupted(stopped.number)
    except FlowsyncError as error:
        complain(str(error))
        return 2 if isinstance(error, SettingsError) else 1
    except BrokenPipeError:
        return _unheard()
    return status if isinstance(status, int) else 0


def complain(text: str) -> None:
    """Write one line about a failure to stderr."""
    print(complaint(text), file=sys.stderr)


def complaint(text: str) -> str:
    """Return the line that tells of a failure."""
    return f"flowsync: {one_line(text)}"


def _interrupted(number: int) -> int:
    complain(f"stopped by {signal.Signals(number).name}; nothing half-done is visible")
    return 128 + number


def _unheard() -> int:
    """Whoever read our output has seen enough. What is still buffered goes nowhere, or the interpreter would complain at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return 1
