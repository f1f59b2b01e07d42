"""The live display: bars on a terminal, drawn by rich. Loaded only where stderr is a terminal.

1. The bars of the only sync stay when it ends, and its result stands below them.
2. Of several syncs, each has bars while it goes on. When it ends they go, and its result stands
   above the others. The last line counts those that ended, the bytes, and the rate.
3. It is never higher than the terminal: where room is short, each sync has the bar of the counter
   that is at work, and syncs for which there is none are counted.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from flowsync.cli.display import Display, has_something_to_tell
from flowsync.cli.output import complaint, format_bytes, tell, visible, visible_line
from flowsync.model.events import Event, Reading, SyncEnded, SyncProgressed

_RATE_SECONDS: Final = 5.0
"""Over how long the rate is taken."""

_REFRESHES: Final = 4
"""Drawings a second."""


def can_redraw() -> bool:
    """Say whether the terminal of stderr can move its cursor."""
    console = Console(stderr=True)
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def bars_display(expected: int | None) -> Iterator[Display]:
    """Give a display that draws bars on stderr while the block runs; `expected` results are to
    come, if that is known.
    """
    console = Console(stderr=True)
    several = expected is not None and expected > 1
    bars = Bars(console, expected if several else None)
    area = _Area(console, bars.render, stays=not several)
    below: list[str] = []

    def tell_result(text: str) -> None:
        bars.count_result()
        # What goes elsewhere than to a terminal cannot get into the drawing.
        if not sys.stdout.isatty():
            tell(text)
        elif several:
            area.above(lambda: tell(text))
        else:
            below.append(text)

    def note(text: str) -> None:
        console.print(visible(text), soft_wrap=True, markup=False, highlight=False, emoji=False)

    try:
        with area.shown():
            yield Display(
                observe=bars,
                tell=tell_result,
                complain=lambda text: note(complaint(text)),
                note=note,
            )
    finally:
        for text in below:
            tell(text)


class Bars:
    """The counters of all syncs that go on. Called a few times a second, and drawn by another
    thread.

    With a number of `expected` results, there is a line for all of them.
    """

    def __init__(self, console: Console, expected: int | None) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._progress = _progress(console)
        self._tasks: dict[str, dict[str, TaskID]] = {}
        self._sizes: dict[str, int] = {}
        self._overall: TaskID | None = None
        if expected is not None:
            self._overall = self._progress.add_task("", total=expected, counts="")
        self._expected = expected
        self._results = 0
        self._rate = _Rate()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, SyncProgressed):
                self._sizes[event.repository] = sum(reading.size for reading in event.readings)
                for reading in event.readings:
                    self._show(event.repository, reading)
            elif isinstance(event, SyncEnded) and self._overall is not None:
                for task in self._tasks.pop(event.repository, {}).values():
                    self._progress.remove_task(task)

    def count_result(self) -> None:
        """Take note that one more of the expected results is there."""
        with self._lock:
            self._results += 1

    def render(self) -> RenderableType:
        """Return what is to be seen now, of at most as many lines as the terminal has."""
        with self._lock:
            overall = self._overall_task()
            room = max(self._console.height - 1 - len(overall), 1)
            rows, more = self._chosen(room)
            if not more:
                return self._progress.make_tasks_table([*rows, *overall])
            return Group(
                self._progress.make_tasks_table(rows),
                Text(f"… and {more} more"),
                *([self._progress.make_tasks_table(overall)] if overall else []),
            )

    def _show(self, repository: str, reading: Reading) -> None:
        tasks = self._tasks.setdefault(repository, {})
        shown = has_something_to_tell(reading)
        if reading.code not in tasks:
            if not shown:
                return
            tasks[reading.code] = self._progress.add_task(
                visible_line(f"{repository}: {reading.message}"), counts=""
            )
        ended = reading.state != "running"
        self._progress.update(
            tasks[reading.code],
            completed=reading.done,
            total=reading.done if ended else reading.total,
            counts=_counts(reading),
            visible=shown,
        )

    def _chosen(self, room: int) -> tuple[list[Task], int]:
        """Return the tasks that are drawn, and how many syncs are left out for want of room."""
        by_id = {task.id: task for task in self._progress.tasks if task.visible}
        syncs = [
            [by_id[number] for number in tasks.values() if number in by_id]
            for tasks in self._tasks.values()
        ]
        syncs = [tasks for tasks in syncs if tasks]
        if sum(map(len, syncs)) <= room:
            return [task for tasks in syncs for task in tasks], 0
        # The first counter that has not ended is where the sync is; what has ended comes last.
        current = [
            next((task for task in tasks if not task.finished), tasks[-1]) for tasks in syncs
        ]
        current.sort(key=lambda task: task.finished)
        if len(current) <= room:
            return current, 0
        return current[: room - 1], len(current) - room + 1

    def _overall_task(self) -> list[Task]:
        if self._overall is None:
            return []
        size = sum(self._sizes.values())
        rate = self._rate.of(size)
        self._progress.update(
            self._overall,
            description=f"{self._results} of {self._expected} repositories",
            completed=self._results,
            counts=f"{format_bytes(size)}, {format_bytes(rate)}/s",
        )
        return [task for task in self._progress.tasks if task.id == self._overall]


class _Rate:
    """How fast a count has grown lately."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def of(self, count: int) -> float:
        """Take note of the count and return its growth a second."""
        now = time.monotonic()
        self._seen.append((now, count))
        while self._seen[0][0] < now - _RATE_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        then, before = self._seen[0]
        return (count - before) / (now - then) if now > then else 0.0


class _Area:
    """The lines at the bottom of the terminal that are drawn again and again."""

    def __init__(
        self, console: Console, render: Callable[[], RenderableType], *, stays: bool
    ) -> None:
        self._console = console
        self._render = render
        self._stays = stays
        self._live = self._new()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw while the block runs; afterwards the last drawing is left if it `stays`, or
        nothing.
        """
        self._live.start()
        try:
            yield
        finally:
            self._live.stop()

    def above(self, write: Callable[[], None]) -> None:
        """Let what `write` writes to the terminal stand above the lines."""
        self._live.stop()
        write()
        self._live = self._new()
        self._live.start()

    def _new(self) -> Live:
        return Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=_REFRESHES,
            transient=not self._stays,
            # rich would take over a stdout that is no terminal too, and write to stderr what is
            # meant for a file.
            redirect_stdout=False,
        )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[counts]}", markup=False),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=console,
    )


def _counts(reading: Reading) -> str:
    ended = reading.state != "running"
    total = "" if ended or reading.total is None else f"/{reading.total}"
    size = f", {format_bytes(reading.size)}" if reading.size else ""
    state = f" ({reading.state})" if reading.state in {"failed", "canceled"} else ""
    return f"{reading.done}{total}{size}{state}"
