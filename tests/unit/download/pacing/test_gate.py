"""When the next request to a host may start. Times are seconds."""

import math
from typing import Any

import pytest

from flowsync.download.pacing.gate import AdaptiveLimit, Gate
from flowsync.model.remote import Remote


def remote(**fields: Any) -> Remote:
    return Remote(name="r", url="http://host/", **fields)


def new_gate() -> Gate:
    return Gate(AdaptiveLimit())


def test_own_number_counts_and_without_one_what_was_learned() -> None:
    gate = new_gate()
    for _ in range(2):
        gate.start(0.0, remote())

    assert gate.opens_at(remote(download_concurrency=2)) == math.inf
    assert gate.opens_at(remote(download_concurrency=3)) <= 0.0
    assert gate.opens_at(remote()) <= 0.0


def test_requests_with_a_rate_are_spaced() -> None:
    gate, modest = new_gate(), remote(rate_limit=2.0)
    gate.start(10.0, modest)

    # A tenth of a second of what was not used before may be made up for.
    assert gate.opens_at(modest) == 10.4
    gate.start(10.4, modest)
    assert gate.opens_at(modest) == 10.9
    assert gate.opens_at(remote()) <= 0.0


def test_bytes_over_the_rate_make_reader_and_next_request_wait() -> None:
    gate, modest = new_gate(), remote(bandwidth_limit=1000)
    gate.start(10.0, modest)

    wait = gate.read(10.0, 2000, 1000)

    assert wait == pytest.approx(1.9)
    assert gate.opens_at(modest) == pytest.approx(11.9)


def test_retry_after_holds_everybody_up_and_then_lets_them_come_back_one_by_one() -> None:
    gate, own = new_gate(), remote(download_concurrency=8)
    for _ in range(3):
        gate.start(0.0, own)

    gate.refused(0.0, 1.0, 5.0)
    gate.answered(0.0, 1.0, 100)

    assert (gate.opens_at(own), gate.opens_at(remote())) == (6.0, 6.0)
    starts = []
    for _ in range(4):
        starts.append(gate.opens_at(own))
        gate.start(starts[-1], own)
    # Eight in twice the second that requests take.
    assert starts == [6.0, 6.25, 6.5, 6.75]
    gate.start(8.0, own)
    assert gate.opens_at(own) <= 8.0
