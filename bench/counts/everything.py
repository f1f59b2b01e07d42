"""All deterministic counts, by name: what each call of the catalog, each batch of a sync and each
sync says, fetches, encodes and calls.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from psycopg.conninfo import make_conninfo

from bench.counts.catalog import count_calls
from bench.counts.waves import Bytes, Counted, sync_in_waves
from bench.counts.whole import Fetched, serve_files, sync_whole
from bench.counts.wire import Wire
from flowsync import Engine
from flowsync.model.remote import Policy
from tests.postgres import temporary_database
from tests.upstream.server import Upstream

UNITS: Final = 2000
"""Of a whole sync over HTTP."""

KINDS: Final[tuple[Bytes, ...]] = ("local", "deferred")
POLICIES: Final[tuple[Policy, ...]] = ("immediate", "on_demand")
DOWNLOADING: Final = "first sync, immediate"
"""The sync whose calls are not told: how many pieces the bodies come in is up to the network."""


@contextmanager
def wired(postgres: str) -> Iterator[Wire]:
    """Give a wire to a new database of the server."""
    with temporary_database(postgres) as name, Wire(make_conninfo(postgres, dbname=name)) as wire:
        yield wire


def count_waves(postgres: str, place: Path) -> dict[str, Counted]:
    """Return what syncs in waves said, first and again: those that store bytes, and those on
    demand.
    """

    async def run(wire: Wire) -> dict[str, Counted]:
        async with Engine(place / "home", database_url=wire.conninfo) as engine:
            return {
                f"{time} sync, bytes {kind}": await sync_in_waves(engine, wire, place, kind)
                for kind in KINDS
                for time in ("first", "full second")
            }

    with wired(postgres) as wire:
        return uvloop.run(run(wire))


def count_whole(postgres: str, place: Path, units: int) -> dict[str, Fetched]:
    """Return what whole syncs over HTTP did, first and again."""

    async def run(policy: Policy, wire: Wire, upstream: Upstream) -> dict[str, Fetched]:
        async with Engine(place / policy, database_url=wire.conninfo) as engine:
            return {
                f"{time} sync, {policy}": await sync_whole(engine, wire, upstream, units, policy)
                for time in ("first", "full second")
            }

    found: dict[str, Fetched] = {}
    with Upstream() as upstream:
        serve_files(upstream, place / "upstream", units)
        for policy in POLICIES:
            with wired(postgres) as wire:
                found |= uvloop.run(run(policy, wire, upstream))
    return found


def count_everything(postgres: str, place: Path) -> dict[str, float]:
    """Return the counts. They are the same in each run, but for the calls, which are within one in
    a hundred.
    """
    found: dict[str, float] = {}
    with wired(postgres) as wire:
        for name, count in count_calls(wire).items():
            found[f"round trips of a call with 500 rows: {name}"] = count
    for name, counted in count_waves(postgres, _made(place / "waves")).items():
        found[f"round trips a batch of 500: {name}"] = counted.batch.round_trips
        found[f"round trips a sync, without batches: {name}"] = counted.besides
    for name, fetched in count_whole(postgres, _made(place / "whole"), UNITS).items():
        told = msgspec.structs.asdict(fetched)
        for what in ("requests", "bytes", "encoded"):
            found[f"{what} of {UNITS} units: {name}"] = told[what]
        if name != DOWNLOADING:
            found[f"calls a unit: {name}"] = round(fetched.calls / fetched.units, 1)
    return found


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
