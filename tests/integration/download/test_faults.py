"""Whatever upstream does, a transfer ends with the right bytes or with an error of ours, and
nothing is left of it.
"""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from flowsync.errors import IntegrityError, TransferError
from tests.integration.download.conftest import Client
from tests.upstream.behaviours import (
    Behaviour,
    Change,
    Chunked,
    Corrupt,
    Cut,
    Drip,
    Drop,
    Garbage,
    Good,
    Gzip,
    HalfHead,
    Hang,
    IgnoreRange,
    Lie,
    Reset,
    Status,
    Unmeasured,
    WrongRange,
)
from tests.upstream.server import Upstream

FAULTS: list[Callable[[Random, int], Behaviour]] = [
    lambda random, size: Cut(random.randrange(size)),
    lambda random, size: Reset(random.randrange(size)),
    lambda random, size: Hang(random.randrange(size)),
    lambda random, size: Hang(),
    lambda random, size: Corrupt(random.randrange(size)),
    lambda random, size: Lie(random.choice([-1, 1, 1000])),
    lambda random, size: Unmeasured(random.choice([None, random.randrange(size)])),
    lambda random, size: Chunked(1000, cut=random.random() < 0.5),
    lambda random, size: Status(random.choice([429, 500, 503]), retry_after="0"),
    lambda random, size: Status(404),
    lambda random, size: Change(random.randbytes(size)),
    lambda random, size: IgnoreRange(),
    lambda random, size: WrongRange(random.choice([1, size])),
    lambda random, size: Drip(size // 3 + 1),
    lambda random, size: Gzip(random.choice([None, 15])),
    lambda random, size: Garbage(),
    lambda random, size: HalfHead(),
    lambda random, size: Drop(),
    lambda random, size: Good(),
]


@pytest.mark.parametrize("seed", range(4))
async def test_transfer_ends_right_or_in_an_error_and_leaves_nothing(
    client: Client, upstream: Upstream, seed: int
) -> None:
    """Faults are drawn at random: 30 transfers of up to four faults each."""
    client.fields["stall_timeout"] = 0.1
    random = Random(seed)
    outcomes: list[str] = []

    async def transfer(path: str, body: bytes) -> None:
        expected = {"sha256": hashlib.sha256(body).hexdigest()}
        try:
            fetched = await client.fetcher.download(
                client.request(upstream.url(path), expected=expected)
            )
        except (TransferError, IntegrityError):
            outcomes.append("failed")
        else:
            found = Path(fetched.path or "")
            assert found.read_bytes() == body
            found.unlink()
            outcomes.append("right")

    async with asyncio.TaskGroup() as group:
        for number in range(30):
            size = random.choice([10, 5_000, 300_000, 2_500_000])
            body = random.randbytes(size)
            path = f"/{number}"
            upstream.put(path, body, etag=random.choice(["strong", "weak", None]))
            faults = random.choices(FAULTS, k=random.randrange(5))
            upstream.script(path, *(fault(random, size) for fault in faults))
            group.create_task(transfer(path, body))

    assert len(outcomes) == 30
    assert "right" in outcomes
    assert client.leftovers() == []
