"""What a lease costs: taken and given back with room, and when every taker has to wait for
another's.

"room" is one task; "crowd" is 200 tasks, as many as contents are downloaded at a time, over a
budget for 20, so that nearly every lease is waited for. Either from the budget itself or through
the account of a run, as syncs do. Left out: the pressure's effect on batches.

The figure that counts is `ns_lease` (median), printed with `-s` and saved with the others; the
table shows the whole run.
"""

import asyncio

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from flowsync.pipeline.budget import Account, Budget

LEASES = 20_000
ROUNDS = 7
SIZE = 4096

CROWDS = {"room": 1, "crowd": 200}


async def take(source: Budget | Account, count: int) -> None:
    for _ in range(count):
        lease = await source.acquire(SIZE)
        # Whoever holds a lease waits for something meanwhile, so that others come to want one.
        await asyncio.sleep(0)
        lease.release()


async def take_all(through: str, tasks: int, count: int) -> None:
    budget = Budget(size=20 * SIZE, items=1000)
    with budget.account() as account:
        source = account if through == "account" else budget
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(take(source, count // tasks))
    assert budget.items_in_flight == 0


@pytest.mark.parametrize("through", ["budget", "account"])
@pytest.mark.parametrize("load", CROWDS)
def bench_lease(benchmark: BenchmarkFixture, load: str, through: str) -> None:
    tasks = CROWDS[load]
    count = tasks if benchmark.disabled else LEASES

    benchmark.pedantic(
        lambda: uvloop.run(take_all(through, tasks, count)),
        rounds=1 if benchmark.disabled else ROUNDS,
    )

    if benchmark.stats:
        nanoseconds = benchmark.stats.stats.median / count * 1e9
        benchmark.extra_info["ns_lease"] = round(nanoseconds)
        print(f"{load}, from the {through}: {nanoseconds:.0f} ns a lease")
