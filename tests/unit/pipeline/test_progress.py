import asyncio
from contextlib import suppress

import pytest

from flowsync.model.events import Reading
from flowsync.pipeline.stage import Meter, Progress


def test_meter_counts_things_and_bytes() -> None:
    meter = Meter("downloading", "Downloading", total=10)

    meter.advance()
    meter.advance(2, size=300)

    assert meter.read() == Reading(
        code="downloading", message="Downloading", done=3, total=10, size=300, state="running"
    )


def end_with(error: BaseException | None) -> str:
    meter = Meter("work", "Working")
    with suppress(BaseException), meter:
        if error is not None:
            raise error
    return meter.state


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, "completed"),
        (ValueError("wrong"), "failed"),
        (asyncio.CancelledError(), "canceled"),
        (KeyboardInterrupt(), "canceled"),
    ],
)
def test_meter_ends_as_its_block_ends(error: BaseException | None, state: str) -> None:
    assert end_with(error) == state


def test_meter_that_is_used_again_runs_again() -> None:
    meter = Meter("work", "Working")
    with meter:
        pass

    with meter:
        assert meter.state == "running"


def test_same_code_gives_the_same_meter() -> None:
    progress = Progress()

    first = progress.meter("work", "Working")

    assert progress.meter("work", "Working again") is first
    assert first.message == "Working"


def test_total_that_is_given_replaces_the_known_one() -> None:
    progress = Progress()
    meter = progress.meter("work", "Working", 5)

    progress.meter("work", "Working", 7)
    progress.meter("work", "Working")

    assert meter.total == 7


def test_progress_reads_meters_in_the_order_in_which_they_were_asked_for() -> None:
    progress = Progress()
    progress.meter("b", "Second letter").advance(2)
    progress.meter("a", "First letter", 1)

    assert progress.read() == (
        Reading(code="b", message="Second letter", done=2, total=None, size=0, state="running"),
        Reading(code="a", message="First letter", done=0, total=1, size=0, state="running"),
    )
