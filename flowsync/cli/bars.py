"""Progress bars, drawn by rich. Loaded only where stderr is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from flowsync.cli.outcome import complaint
from flowsync.cli.progress import Display, has_something_to_tell
from flowsync.cli.text import format_bytes
from flowsync.model.events import Event, Reading, SyncProgressed


def can_redraw() -> bool:
    """Say whether the terminal of stderr can move its cursor."""
    console = Console(stderr=True)
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def bars_display() -> Iterator[Display]:
    """Give a display that draws bars on stderr while the block runs. On a terminal, results follow below them."""
    console = Console(stderr=True)
    results: list[str] = []
    try:
        with _progress(console) as progress:
            yield Display(
                observe=Bars(progress),
                tell=results.append if sys.stdout.isatty() else click.echo,
                complain=lambda text: console.print(
                    complaint(text), soft_wrap=True, markup=False, highlight=False, emoji=False
                ),
            )
    finally:
        for result in results:
            click.echo(result)


class Bars:
    """Draws a bar for each counter of each sync. Called a few times a second, whatever the number of units."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __call__(self, event: Event) -> None:
        if not isinstance(event, SyncProgressed):
            return
        for reading in event.readings:
            self._show(event.repository, reading)

    def _show(self, repository: str, reading: Reading) -> None:
        key = (repository, reading.code)
        shown = has_something_to_tell(reading)
        if key not in self._tasks:
            if not shown:
                return
            self._tasks[key] = self._progress.add_task(
                f"{repository}: {reading.message}", counts=""
            )
        ended = reading.state != "running"
        self._progress.update(
            self._tasks[key],
            completed=reading.done,
            total=reading.done if ended else reading.total,
            counts=_counts(reading),
            visible=shown,
        )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[counts]}", markup=False),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=console,
        refresh_per_second=4,
        # rich would take over a stdout that is no terminal too, and write to stderr what is meant for a file.
        redirect_stdout=False,
    )


def _counts(reading: Reading) -> str:
    ended = reading.state != "running"
    total = "" if ended or reading.total is None else f"/{reading.total}"
    size = f", {format_bytes(reading.size)}" if reading.size else ""
    state = f" ({reading.state})" if reading.state in {"failed", "canceled"} else ""
    return f"{reading.done}{total}{size}{state}"
