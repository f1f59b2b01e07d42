"""Shows how far syncs are and how they ended: bars on a terminal, plain lines elsewhere.

Progress and complaints go to stderr, results to stdout. Bars need rich; where it is not installed,
or stderr is no terminal that can redraw, a line is written when something ends and every few
seconds in between. A counter that never counted anything is not shown.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

import msgspec

from flowsync.cli.output import complain, format_bytes, go_on_unheard, note, tell
from flowsync.model.events import Event, Observer, Reading, SyncProgressed

LINE_INTERVAL: Final = 5.0
"""Seconds between two plain lines about one counter."""


class Display(msgspec.Struct, frozen=True, kw_only=True):
    """Where a command shows what happens: events of syncs, results (lines of stdout), failures and
    notes (lines of stderr).
    """

    observe: Observer
    tell: Callable[[str], None]
    complain: Callable[[str], None]
    note: Callable[[str], None]


@contextmanager
def display(*, quiet: bool, expected: int | None = None) -> Iterator[Display]:
    """Give a display while the block runs. With `quiet` it shows no progress unless stderr is a
    terminal.

    `expected` is how many results are to come, where that is known.
    """
    go_on_unheard()
    if sys.stderr.isatty() and find_spec("rich") is not None:
        # Optional, and slow to load.
        from flowsync.cli.bars import bars_display, can_redraw  # noqa: PLC0415

        if can_redraw():
            with bars_display(expected) as shown:
                yield shown
            return
    yield Display(
        observe=_take_no_notice if quiet else Lines(),
        tell=tell,
        complain=complain,
        note=note,
    )


def has_something_to_tell(reading: Reading) -> bool:
    """Say whether a counter counted anything, or is going to."""
    going_to = reading.state == "running" and bool(reading.total)
    return going_to or bool(reading.done or reading.size)


def _take_no_notice(event: Event) -> None:
    """Show nothing."""


class Lines:
    """Writes plain lines about each counter of each sync."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str], tuple[float, str]] = {}

    def __call__(self, event: Event) -> None:
        if not isinstance(event, SyncProgressed):
            return
        for reading in filter(has_something_to_tell, event.readings):
            self._show(event.repository, reading)

    def _show(self, repository: str, reading: Reading) -> None:
        now = time.monotonic()
        key = (repository, reading.code)
        then, state = self._shown.get(key, (0.0, ""))
        if state == reading.state and (state != "running" or now - then < LINE_INTERVAL):
            return
        self._shown[key] = (now, reading.state)
        if reading.state != "running" or state:
            note(f"{repository}: {_line(reading)}")


def _line(reading: Reading) -> str:
    total = "" if reading.total is None or reading.state == "completed" else f"/{reading.total}"
    size = f", {format_bytes(reading.size)}" if reading.size else ""
    state = "" if reading.state == "completed" else f" ({reading.state})"
    return f"{reading.message} {reading.done}{total}{size}{state}"
