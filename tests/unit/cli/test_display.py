"""What is shown of counters, and where."""

import pytest

from flowsync.cli.display import Lines, has_something_to_tell
from flowsync.model.events import Reading, SyncProgressed, SyncStarted


def reading(
    state: str = "running", done: int = 0, total: int | None = None, size: int = 0
) -> Reading:
    return Reading(code="d", message="Downloading", done=done, total=total, size=size, state=state)


@pytest.mark.parametrize(
    ("counter", "shown"),
    [
        (reading(), False),
        (reading(total=0), False),
        (reading(total=5), True),
        (reading(done=1), True),
        (reading("completed", total=0), False),
        (reading("completed", done=3), True),
        (reading("canceled"), False),
        (reading("canceled", total=5), False),
        (reading("canceled", done=2, total=5), True),
        (reading("failed", total=1), False),
        (reading("failed", size=10), True),
    ],
)
def test_a_counter_is_shown_when_it_counted_or_is_going_to(counter: Reading, shown: bool) -> None:
    assert has_something_to_tell(counter) is shown


def test_lines_tell_the_end_of_each_counter_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()

    lines(SyncStarted(repository="files", mirror=True))
    for counter in (
        reading(total=5),
        reading(done=2, total=5, size=1500),
        reading("completed", done=5, total=5, size=2000),
        reading("completed", done=5, total=5, size=2000),
    ):
        lines(SyncProgressed(repository="files", readings=(counter,)))

    assert capsys.readouterr().err == "files: Downloading 5, 2.0 kB\n"


def test_lines_name_what_was_canceled_with_how_far_it_came(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = Lines()

    lines(SyncProgressed(repository="files", readings=(reading("canceled", done=2, total=5),)))

    assert capsys.readouterr().err == "files: Downloading 2/5 (canceled)\n"
