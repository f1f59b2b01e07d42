"""What the order of large bodies is worth, in virtual time (`tests/simulation/sync.py`)."""

from tests.simulation.origins import Slow
from tests.simulation.sync import simulate


def test_a_large_body_that_comes_last_is_fetched_first() -> None:
    """The last of 200 bodies takes as long as a hundred others."""
    sizes = [10_000] * 199 + [1_000_000]

    largest_first = simulate(Slow(0.02, 1e5), sizes, 16, largest_first=True).seconds
    in_order = simulate(Slow(0.02, 1e5), sizes, 16, largest_first=False).seconds

    assert largest_first < 0.9 * in_order
