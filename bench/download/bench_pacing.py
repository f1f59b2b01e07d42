"""What a slot costs that is free: the gate, the queue and the limits of one request.

Left out: waiting, and what is learned from answers. How near the adaptive limit comes to the best
fixed number of requests is a test (`tests/unit/download/pacing/test_adaptive_limit.py`).
"""

from typing import Any

import uvloop

from flowsync.download.pacing.host_limits import HostLimits
from flowsync.download.transfer.attempt import Tally
from flowsync.model.remote import FetchRequest, Remote

SLOTS = 20_000


async def take(count: int) -> None:
    limits = HostLimits(300.0)
    request = FetchRequest(url="http://r/a", remote=Remote(name="r", url="http://r/"), size=4096)
    tally = Tally(request)
    for _ in range(count):
        async with limits.slot(("http", "r", 80), request, tally):
            pass


def bench_slot(benchmark: Any) -> None:
    count = SLOTS if benchmark.enabled else 1
    rounds = 5 if benchmark.enabled else 1
    benchmark.pedantic(lambda: uvloop.run(take(count)), rounds=rounds)
