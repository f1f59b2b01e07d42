"""Shows how far syncs are: bars on a terminal, plain lines elsewhere, always on stderr.

Bars need rich; where it is not installed, or stderr is no terminal, a line is written when something begins or ends and every few seconds in between.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from flowsync.cli.text import format_bytes
from flowsync.model.events import Event, Observer, Reading, SyncProgressed

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_INTERVAL = 5.0
"""Seconds between two plain lines about one counter."""


@contextmanager
def progress_display(*, quiet: bool) -> Iterator[Observer]:
    """Give an observer that shows syncs while the block runs. With `quiet`, nothing is shown unless stderr is a terminal."""
    if sys.stderr.isatty() and find_spec("rich") is not None:
        from rich.console import Console  # noqa: PLC0415 - optional, and slow to load

        from flowsync.cli.bars import new_bars  # noqa: PLC0415 - same

        with new_bars(Console(stderr=True)) as bars:
            yield Bars(bars)
    elif quiet:
        yield _show_nothing
    else:
        yield Lines()


def _show_nothing(event: Event) -> None:
    """Take no notice."""


class Bars:
    """Draws a bar for each counter of each sync. Called a few times a second, whatever the number of units."""

    def __init__(self, bars: "Progress") -> None:
        self._bars = bars
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __call__(self, event: Event) -> None:
        if not isinstance(event, SyncProgressed):
            return
        for reading in event.readings:
            self._show(event.repository, reading)

    def _show(self, repository: str, reading: Reading) -> None:
        key = (repository, reading.code)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(f"{repository}: {reading.message}", size="")
        finished = reading.state == "completed"
        self._bars.update(
            self._tasks[key],
            completed=reading.done,
            total=reading.done if finished else reading.total,
            size=format_bytes(reading.size) if reading.size else "",
        )


class Lines:
    """Writes plain lines about each counter of each sync."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str], tuple[float, str]] = {}

    def __call__(self, event: Event) -> None:
        if not isinstance(event, SyncProgressed):
            return
        for reading in event.readings:
            self._show(event.repository, reading)

    def _show(self, repository: str, reading: Reading) -> None:
        now = time.monotonic()
        key = (repository, reading.code)
        then, state = self._shown.get(key, (0.0, ""))
        if state == reading.state and (state != "running" or now - then < LINE_INTERVAL):
            return
        self._shown[key] = (now, reading.state)
        if reading.state != "running" or state:
            print(f"{repository}: {_line(reading)}", file=sys.stderr, flush=True)


def _line(reading: Reading) -> str:
    total = "" if reading.total is None or reading.state == "completed" else f"/{reading.total}"
    size = f", {format_bytes(reading.size)}" if reading.size else ""
    state = "" if reading.state == "completed" else f" ({reading.state})"
    return f"{reading.message} {reading.done}{total}{size}{state}"
