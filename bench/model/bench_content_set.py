"""What the root of a version costs a unit: the sum that a batch of 500 units adds to a state, and
the BLAKE3 in it alone.

Left out: reading the ids from the database. The sums are compared with lane-by-lane arithmetic in
`tests/unit/model/test_content_set.py`.
"""

import os
from typing import Any

import blake3

from flowsync.model.content import EMPTY_STATE, STATE_SIZE, with_units, without_units

IDS = [os.urandom(16) for _ in range(500)]


def bench_adding_500_units(benchmark: Any) -> None:
    state = benchmark(with_units, EMPTY_STATE, IDS)

    assert without_units(state, IDS) == EMPTY_STATE


def bench_digests_of_500_units(benchmark: Any) -> None:
    def digest_all() -> int:
        return sum(len(blake3.blake3(unit).digest(length=STATE_SIZE)) for unit in IDS)

    assert benchmark(digest_all) == 500 * STATE_SIZE
