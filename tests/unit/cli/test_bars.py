"""What the live display draws of syncs that go on."""

import io

import pytest
from rich.console import Console

from flowsync.cli.bars import Bars
from flowsync.model.events import Reading, SyncEnded, SyncProgressed
from flowsync.model.repository import SyncResult

COUNTERS = ("Downloading Metadata", "Downloading Artifacts", "Associating Content")


def progressed(repository: str, *, upto: int) -> SyncProgressed:
    """Return the event of a sync whose counters before `upto` have ended; that one is at work."""
    readings = tuple(
        Reading(
            code=message,
            message=message,
            done=3 if number < upto else 1,
            total=3,
            size=1000,
            state="completed" if number < upto else "running",
        )
        for number, message in enumerate(COUNTERS[: upto + 1])
    )
    return SyncProgressed(repository=repository, readings=readings)


def drawn(bars: Bars, console: Console) -> list[str]:
    """Return the lines that are drawn now."""
    lines = console.render_lines(bars.render(), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def console_of(height: int, width: int = 100) -> Console:
    return Console(file=io.StringIO(), height=height, width=width, force_terminal=True)


def test_a_sync_that_ended_leaves_the_display_and_is_counted() -> None:
    console = console_of(24)
    bars = Bars(console, 3)
    for name in ("a", "b"):
        bars(progressed(name, upto=2))

    bars(SyncEnded(repository="a", result=SyncResult(repository="a")))
    bars.count_result()
    lines = drawn(bars, console)

    assert [line.partition("━")[0].rstrip() for line in lines] == [
        "b: Downloading Metadata",
        "b: Downloading Artifacts",
        "b: Associating Content",
        "1 of 3 repositories",
    ]
    # Bytes of those that ended count too.
    assert "6.0 kB, " in lines[-1]


@pytest.mark.parametrize(("height", "width"), [(24, 100), (24, 30), (10, 100), (3, 100), (1, 100)])
def test_the_display_is_never_higher_than_the_terminal(height: int, width: int) -> None:
    console = console_of(height, width)
    bars = Bars(console, 40)
    for number in range(31):
        bars(progressed(f"r{number:02}", upto=number % 3))

    lines = drawn(bars, console)

    assert len(lines) <= max(height - 1, 2)
    assert lines[-1].startswith("0 of 40 repo"[: max(width // 4, 4)])


def test_where_room_is_short_a_sync_has_the_counter_that_is_at_work() -> None:
    console = console_of(12)
    bars = Bars(console, 20)
    for number in range(7):
        bars(progressed(f"r{number}", upto=1))

    roomy = drawn(bars, console)
    for number in range(7, 20):
        bars(progressed(f"r{number:02}", upto=1))
    crowded = drawn(bars, console)

    assert [line.partition("━")[0].rstrip() for line in roomy[:-1]] == [
        f"r{number}: Downloading Artifacts" for number in range(7)
    ]
    assert len(roomy) == 8
    assert crowded[-2] == "… and 11 more"


def test_names_are_drawn_as_they_are_safe_to_be_seen() -> None:
    console = console_of(24)
    bars = Bars(console, None)

    bars(progressed("evil\x1b[31m", upto=0))

    assert drawn(bars, console)[0].startswith("evil\\x1b[31m: Downloading Metadata")
