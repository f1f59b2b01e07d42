"""What a whole sync over HTTP fetches, encodes and calls: the file source against an upstream on
loopback, in one process.

Bytes and requests are counted by the upstream, encodings and calls by Python's own profiler, round
trips on the wire to the database. The round trips are told and not compared: how many files have
arrived when the saver looks is up to chance, and with it the number of batches.
"""

import cProfile
import pstats
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from bench.counts.wire import Wire
from bench.syncs.tree import MANIFEST, grow
from flowsync import DeclarativeVersion, Engine, Remote, Repository
from flowsync.model.remote import Policy
from flowsync.sources.file import FileFirstStage
from tests.upstream.server import Upstream

SIZE: Final = 512


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What one sync of `units` did."""

    units: int
    round_trips: int
    requests: int
    bytes: int
    encoded: int
    calls: int


async def sync_whole(
    engine: Engine, wire: Wire, upstream: Upstream, units: int, policy: Policy
) -> Fetched:
    """Sync what the upstream serves into the repository named by the policy. The engine's database
    is behind the wire.
    """
    before, requests, sent = wire.tally.copy(), upstream.count(), upstream.sent()
    remote = Remote(name=policy, url=upstream.url(f"/{MANIFEST}"), policy=policy)
    version = DeclarativeVersion(
        FileFirstStage(remote), Repository(name=policy), mirror=True, engine=engine, force=True
    )
    with cProfile.Profile() as profile:
        await version.acreate()
    called = _calls(profile)
    return Fetched(
        units=units,
        round_trips=wire.tally.since(before).round_trips,
        requests=upstream.count() - requests,
        bytes=upstream.sent() - sent,
        encoded=sum(count for name, count in called.items() if _encodes(name)),
        calls=sum(called.values()),
    )


def serve_files(upstream: Upstream, folder: Path, units: int) -> None:
    """Give the upstream so many small files with their manifest."""
    upstream.serve(grow(folder, [SIZE] * units, bodies=True))


def _calls(profile: cProfile.Profile) -> Mapping[str, int]:
    """Return how often each function was called, by its name; those of one name together."""
    found: dict[str, int] = {}
    for (_, _, name), (_, count, *_) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        found[name] = found.get(name, 0) + count
    return found


def _encodes(name: str) -> bool:
    return "msgspec" in name and "encode" in name
