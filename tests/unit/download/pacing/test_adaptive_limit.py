"""The number of requests at a time that is learned, against upstreams of hidden capacity in virtual
time (`tests/simulation/origins.py`).

What it reaches is compared with the number that is best for that upstream, which learning has to
find; all of the learning counts.
"""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowsync.download.pacing.gate import CEILING, FLOOR, START, AdaptiveLimit
from tests.simulation.origins import Metered, Queueing, Refusing, Shared, Slow
from tests.simulation.sync import Make, bodies, simulate

COUNT = 5000


@pytest.mark.parametrize(
    ("make", "best"),
    [
        (partial(Queueing, servers=2, service=0.2), 3),
        (partial(Queueing, servers=40, service=0.2), 44),
        (partial(Slow, latency=1.0), 128),
        (partial(Slow, latency=0.5, bytes_a_second=20e3), 128),
        (partial(Refusing, most=3, service=0.5), 3),
        (partial(Refusing, most=10, service=0.5), 10),
        (partial(Refusing, most=50, service=0.5, retry_after=1.0), 50),
        (partial(Slow, latency=0.1, flaw=0.03), 128),
        (partial(Shared, bytes_a_second=1e6), 128),
    ],
)
def test_nine_tenths_of_the_best_fixed_number_are_reached(make: Make, best: int) -> None:
    sizes = bodies(COUNT)

    found, best_found = simulate(make(), sizes), simulate(make(), sizes, best)

    assert found.throughput > 0.9 * best_found.throughput
    assert found.failed == 0


@pytest.mark.parametrize("latency", [0.2, 1.0])
def test_slow_links_are_used_much_better_than_by_the_first_number(latency: float) -> None:
    sizes = bodies(COUNT)

    found, fixed = simulate(Slow(latency), sizes), simulate(Slow(latency), sizes, int(START))

    assert found.throughput > 4 * fixed.throughput


def test_upstream_that_meters_requests_is_asked_at_its_pace_without_giving_any_up() -> None:
    metered = partial(Metered, rate=20, burst=5, service=0.03)

    found = simulate(metered(), bodies(COUNT))

    assert found.throughput > 0.9 * 20
    assert found.failed <= COUNT / 1000
    assert found.limit < 2


def test_pause_that_upstream_asks_for_is_not_asked_for_again_and_again() -> None:
    found = simulate(Refusing(10, 0.5, retry_after=1.0), bodies(COUNT))

    assert found.refused < 20
    assert found.failed == 0


def test_it_begins_moderately_and_never_passes_its_ceiling() -> None:
    limit = AdaptiveLimit()
    assert limit.slots == 16

    for number in range(10_000):
        limit.answered(number / 1000, number / 1000 + 0.1, 4096, limit.slots)

    assert limit.slots <= CEILING


def test_processes_that_share_an_upstream_begin_with_a_share_each() -> None:
    assert AdaptiveLimit(share=4).slots == 4


def test_answer_within_one_tick_of_the_clock_after_a_refusal_leaves_the_upstream_open() -> None:
    """The symptom: a host on the same machine refused once, answered in less than a millisecond,
    and was never asked again.
    """
    limit = AdaptiveLimit()
    limit.refused(0.0, 0.004, 1, pause=0.05)

    limit.answered(0.06, 0.06, 4, 1)

    assert limit.limit >= FLOOR
    assert limit.slots == 1


def test_refusal_among_more_requests_than_the_limit_never_raises_it() -> None:
    """Requests of remotes with a number of their own run too."""
    limit = AdaptiveLimit()

    limit.refused(0.0, 0.1, 200, pause=1.0)

    assert limit.limit <= START


@given(
    st.lists(
        st.tuples(
            st.booleans(), st.integers(0, 3000), st.integers(1, 200), st.sampled_from([0.0, 1.0])
        )
    )
)
def test_one_request_may_always_run_whatever_happened(
    events: list[tuple[bool, int, int, float]],
) -> None:
    """Durations in whole milliseconds, zero included, as the loop's clock counts them."""
    limit, now = AdaptiveLimit(), 0.0
    for answered, milliseconds, running, pause in events:
        started, now = now, now + milliseconds / 1000
        if answered:
            limit.answered(started, now, 4096, running)
        else:
            limit.refused(started, now, running, pause)
        assert FLOOR <= limit.limit <= CEILING
        assert limit.slots >= 1
        assert limit.interval >= 0
