"""How near the adaptive limit comes to the best fixed number of requests at a time, what the order
is worth, and what a slot costs.

`python -m bench.download.bench_pacing` simulates upstreams of hidden capacity (`origins`) and
prints for each the best fixed number from 1 to 128, found in the same simulation, with its
throughput, and as parts of that what a fixed 16 and the adaptive limit reach. A fixed number by
which more than one request in a thousand fails for good does not count; where all do, the rate that
the upstream allows takes the place of the best. Left out: what our own side costs, and upstreams
whose capacity changes. With pytest one upstream of each kind is a bench, and so is a slot.

Chance is part of it, so each upstream has a line for each of two seeds, and the end counts
upstreams by the mean of both.

Throughput is counted from the first request, so it holds what learning costs. An upstream that
answers `Retry-After` makes everybody wait, and learning its limit costs at least one such pause:
the run must be long beside it.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import mean
from typing import Any, Final

import pytest
import uvloop

from bench.download.origins import Metered, Origin, Queueing, Refusing, Shared, Slow
from bench.download.simulation import Make, Outcome, bodies, simulate
from flowsync.download.pacing.host_limits import HostLimits
from flowsync.download.transfer.attempt import Tally
from flowsync.model.fetch import FetchRequest
from flowsync.model.remote import Remote

COUNT: Final = 4000
SEEDS: Final = 1, 2
FIXED: Final = (1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 20, 21, 22, 24, 32, 40, 44, 48, 50, 51, 56)
MORE: Final = (64, 80, 96, 100, 101, 112, 128)

Scenario = tuple[Make, int]
"""An upstream, and how many bodies are fetched from it."""


def scenarios() -> dict[str, Scenario]:
    """Return all upstreams by their description."""
    many = [
        *(
            _scenario(Queueing, servers=servers, service=service)
            for servers in (1, 2, 8, 40, 100)
            for service in (0.02, 0.2, 1.0)
        ),
        *(
            _scenario(Slow, latency=latency, bytes_a_second=speed)
            for latency, speed in ((0.2, 1e9), (1.0, 1e9), (0.5, 20e3), (0.2, 8e3))
        ),
        *(
            _scenario(Refusing, most=most, service=service)
            for most in (1, 2, 3, 5, 10, 20, 50, 100)
            for service in (0.05, 0.5)
        ),
        *(
            _scenario(Refusing, 2 * COUNT, most=most, service=0.5, retry_after=seconds)
            for seconds, numbers in ((1, (1, 2, 3, 5, 10, 20, 50, 100)), (10, (1, 2, 10)))
            for most in numbers
        ),
        *(
            _scenario(Metered, count, rate=rate, burst=burst, service=0.03, retry_after=seconds)
            for rate in (1, 5, 20, 100)
            for burst in (1, 5, 50)
            for seconds, count in ((0, COUNT), (1, 2 * COUNT))
        ),
        *(_scenario(Shared, bytes_a_second=speed) for speed in (1e5, 1e6, 1e7)),
        *(_scenario(Slow, latency=0.1, flaw=flaw) for flaw in (0.01, 0.03)),
    ]
    return dict(many)


def _scenario(
    kind: Callable[..., Origin], count: int = COUNT, **facts: float
) -> tuple[str, Scenario]:
    listed = ", ".join(f"{name} {value:g}" for name, value in facts.items())
    return f"{kind.__name__}: {listed}", (partial(kind, **facts), count)


def best_fixed(make: Make, count: int, seed: int) -> tuple[int, dict[int, Outcome]]:
    """Return the best number, 0 if none will do, and all that was tried."""
    sizes = bodies(count, seed)
    tried = {fixed: simulate(make(), sizes, fixed, seed=seed) for fixed in (*FIXED, *MORE)}
    good = [fixed for fixed, outcome in tried.items() if outcome.failed <= count / 1000]
    return max(good, key=lambda fixed: tried[fixed].throughput, default=0), tried


def main() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    print(f"{'':62} best     /s |   16 | adaptive: of best, failed, refused, last limit, peak")
    reached = []
    for name, (make, count) in scenarios().items():
        if wanted in name:
            shares = [_compare(name, make, count, seed) for seed in SEEDS]
            reached.append(mean(shares))
    print(
        f"of {len(reached)} upstreams, {sum(part >= 0.895 for part in reached)} at 0.90 "
        f"(rounded) or more, on average; the least {min(reached):.3f}"
    )
    gain = makespan(largest_first=True) / makespan(largest_first=False)
    print(f"makespan with the largest first: {gain:.2f} of that in order")
    print(f"a slot: {min(slots(20_000) for _ in range(5)) * 1e6:.2f} µs")


def _compare(name: str, make: Make, count: int, seed: int) -> float:
    """Print a line and return the part of the best throughput that the adaptive limit reaches."""
    best, tried = best_fixed(make, count, seed)
    origin = make()
    if best:
        throughput = tried[best].throughput
    else:
        assert isinstance(origin, Metered)
        throughput = origin.rate
    found = simulate(origin, bodies(count, seed), seed=seed)
    print(
        f"{name:62} {best or '-':>4} {throughput:6.1f} | {tried[16].throughput / throughput:4.2f}"
        f" | {found.throughput / throughput:4.2f} {found.failed:4} {found.refused:4}"
        f" {found.limit:6.2f} {found.peak:4}",
        flush=True,
    )
    return found.throughput / throughput


def makespan(*, largest_first: bool) -> float:
    """Return how long 200 bodies take of which the last one takes as long as a hundred others."""
    sizes = [10_000] * 199 + [1_000_000]
    return simulate(Slow(0.02, 1e5), sizes, 16, largest_first=largest_first).seconds


def slots(count: int) -> float:
    """Return the seconds that one slot takes that is free."""
    return uvloop.run(_slots(count))


async def _slots(count: int) -> float:
    limits = HostLimits(300.0)
    request = FetchRequest(url="http://r/a", remote=Remote(name="r", url="http://r/"), size=4096)
    tally = Tally(request)
    start = time.perf_counter()
    for _ in range(count):
        async with limits.slot(("http", "r", 80), request, tally):
            pass
    return (time.perf_counter() - start) / count


@pytest.mark.parametrize(
    "make",
    [
        partial(Queueing, 8, 0.2),
        partial(Slow, 0.5, 20e3),
        partial(Refusing, 10, 0.5),
        partial(Metered, 20, 5, 0.03),
        partial(Shared, 1e6),
    ],
    ids=lambda make: make.func.__name__,
)
def bench_adaptive(benchmark: Any, make: Make) -> None:
    count = COUNT if benchmark.enabled else 100
    outcome = benchmark.pedantic(lambda: simulate(make(), bodies(count)), rounds=1)
    benchmark.extra_info["throughput"] = outcome.throughput if benchmark.enabled else None


def bench_order(benchmark: Any) -> None:
    benchmark.pedantic(makespan, kwargs={"largest_first": True}, rounds=1)

    assert makespan(largest_first=True) < 0.9 * makespan(largest_first=False)


def bench_slot(benchmark: Any) -> None:
    count = 20_000 if benchmark.enabled else 1
    benchmark.pedantic(slots, args=(count,), rounds=5 if benchmark.enabled else 1)


if __name__ == "__main__":
    main()
