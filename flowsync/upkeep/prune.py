"""Clean-up: units that no version has, artifacts that no unit has, blobs that no artifact has,
staging that no process has.

It runs beside syncs, in this process and in others, and never takes from one what it has found and
is about to use. Who could meet, and why nothing is lost:

1. A sync finds a unit or an artifact, and refers to it later. `catalog/orphans.py` keeps what
   running syncs may have found, whatever the protection time; what they find while it is being
   removed they do not find.
2. A sync persists a blob and records it. If clean-up removed the record in between, the sync would
   write a new one; if it then removed the blob, which the sync found there already and did not
   write again, the new record would stand for nothing. So each batch holds the store's lock for
   removing from before it deletes records until the blobs are gone, and a saver holds it for
   storing from before it looks for the blob until it is recorded (`store/store.py`). Neither is
   ever inside while the other is.
3. Clean-up is killed. Records go first, in a transaction that is durable when it is committed, then
   blobs. So a kill leaves blobs without a record, never the other way round; the next clean-up
   removes them. A batch that was not committed was not begun.
4. A sync is killed between persisting and recording. The kernel gives its lock back; its blob is
   one without a record, and goes as well.
5. Two clean-ups meet. They pass over rows that the other one holds, and remove blobs in turn; a
   blob that is gone already is fine.
6. A blob has no record now, but is about to get one. Under the lock for removing nobody is about
   to: what has no record then is of no use. It must be as old as the protection time besides, for
   the sake of programs that persist without the lock.
7. An export links, or a client reads, a blob that goes. Only an artifact without a unit goes, so no
   version has the blob; who holds the file open, or a link to it, keeps the bytes.
8. A verification is about to report a blob as missing. It asks, under the same lock, whether the
   artifact is still recorded.

Locks are taken in one order: the store's, a database connection, rows. A writer takes the
store's lock without holding a connection.

Memory holds one window of ids. A transaction covers one window, and the store's lock at most some
hundreds of removals.

Also here: the removal of repositories and alternate sources, and a rate that is kept.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Final

import msgspec

from flowsync.catalog.upkeep.orphans import WINDOW, Gone, measure_removal
from flowsync.catalog.upkeep.orphans import remove_repository as remove_recorded
from flowsync.digest.hashing import RunningDigest
from flowsync.engine.engine import Engine
from flowsync.engine.operations import ends_with_engine
from flowsync.model.content import Content
from flowsync.model.measures import expect_span
from flowsync.model.reports import PruneReport, RemovalReport
from flowsync.runtime.tasks import in_thread
from flowsync.store.port import StoreUsage

PROTECTION: Final = timedelta(hours=24)
"""How long a thing that nothing needs is kept, unless the caller says otherwise."""

_BLOBS: Final = 500
"""Blobs that are removed while savers wait: some tens of milliseconds."""


@ends_with_engine
async def prune(
    engine: Engine,
    *,
    older_than: timedelta = PROTECTION,
    apply: bool = False,
    only: Iterable[Content | bytes] | None = None,
) -> PruneReport:
    """Find what nothing needs and nothing touched for `older_than`, with `apply` remove it, and
    report how much it is.

    `only` limits the units to those given, by id or by a `Content` with their natural key;
    artifacts without a unit, blobs without an artifact and dead staging go in any case. Raise
    `SettingsError` unless `older_than` is between nothing and a hundred years.
    """
    expect_span("older_than", older_than)
    started = time.monotonic()
    ids = None if only is None else await _ids(engine, list(only))
    pruning = _Pruning(engine, older_than, ids, apply=apply)
    contents = await pruning.contents()
    artifacts = await pruning.artifacts()
    blobs = await pruning.blobs()
    staging = await engine.store.dead_staging(remove=apply)
    return PruneReport(
        applied=apply,
        contents=contents.units,
        links=contents.links,
        sources=contents.sources,
        kept=contents.kept,
        artifacts=artifacts.blobs,
        artifact_bytes=artifacts.bytes,
        blobs=blobs.blobs,
        blob_bytes=blobs.bytes,
        staging=staging.blobs,
        staging_bytes=staging.bytes,
        refused=pruning.refused,
        seconds=time.monotonic() - started,
    )


class _Pruning:
    """One clean-up. Its steps find and, where it is to be applied, remove; in this order, because
    each leaves orphans to the next.
    """

    def __init__(
        self, engine: Engine, older_than: timedelta, only: list[bytes] | None, *, apply: bool
    ) -> None:
        self._store = engine.store
        self._orphans = engine.catalog.orphans
        self._older_than = older_than
        self._only = only
        self._apply = apply
        self.refused = 0

    async def contents(self) -> Gone:
        gone = Gone()
        async with aclosing(self._orphan_contents()) as windows:
            async for ids in windows:
                if self._apply:
                    gone += await self._orphans.remove_contents(ids, self._older_than)
                else:
                    gone += await self._orphans.measure(ids)
        return gone

    async def artifacts(self) -> StoreUsage:
        count = size = 0
        cutoff = await self._orphans.cutoff(self._older_than)
        last: int | None = 0
        while last is not None:
            last, ids, bytes_found = await self._orphans.artifacts(last, cutoff, self._only)
            if self._apply:
                removed = await self._remove_artifacts(ids)
                count, size = count + removed.blobs, size + removed.bytes
            else:
                count, size = count + len(ids), size + bytes_found
        return StoreUsage(count, size)

    async def blobs(self) -> StoreUsage:
        count = size = 0
        async with aclosing(self._store.names(_BLOBS)) as batches:
            async for names in batches:
                found = await self._unrecorded(names)
                if self._apply and found:
                    async with self._store.removing():
                        found = await self._unrecorded(list(found))
                        found = await self._remove(found)
                count, size = count + len(found), size + sum(found.values())
        return StoreUsage(count, size)

    async def _orphan_contents(self) -> AsyncGenerator[list[bytes], None]:
        cutoff = await self._orphans.cutoff(self._older_than)
        if self._only is not None:
            for start in range(0, len(self._only), WINDOW):
                window = self._only[start : start + WINDOW]
                if ids := await self._orphans.contents_among(window, cutoff):
                    yield ids
            return
        last: bytes | None = b""
        while last is not None:
            last, ids = await self._orphans.contents(last, cutoff)
            if ids:
                yield ids

    async def _remove_artifacts(self, ids: list[int]) -> StoreUsage:
        count = size = 0
        for start in range(0, len(ids), _BLOBS):
            async with self._store.removing():
                gone = await self._orphans.remove_artifacts(
                    ids[start : start + _BLOBS], self._older_than
                )
                removed = await self._remove({blob.name: blob.size for blob in gone})
            count, size = count + len(removed), size + sum(removed.values())
        return StoreUsage(count, size)

    async def _remove(self, blobs: dict[str, int]) -> dict[str, int]:
        """Remove blobs, and return those that are gone. What cannot be removed is without a record
        then, and tried again by the next clean-up.
        """
        refused = await self._store.remove(list(blobs))
        self.refused += len(refused)
        return {name: size for name, size in blobs.items() if name not in refused}

    async def _unrecorded(self, names: list[str]) -> dict[str, int]:
        """Return those of the blobs that no artifact has and that are old enough, with
        their sizes.
        """
        unrecorded = await self._orphans.unrecorded(names)
        states = await self._store.states(unrecorded)
        newest = time.time() - self._older_than.total_seconds()
        return {
            name: state.size
            for name, state in zip(unrecorded, states, strict=True)
            if state is not None and state.size >= 0 and state.written <= newest
        }


async def _ids(engine: Engine, units: Sequence[Content | bytes]) -> list[bytes]:
    contents = [unit for unit in units if isinstance(unit, Content)]
    found = await engine.catalog.contents.of_keys(contents) if contents else []
    return [
        *(unit for unit in units if isinstance(unit, bytes)),
        *(content_id for ids in found for content_id in ids),
    ]


# Removing what was recorded and is not wanted any more: whole repositories, and the records of old
# runs.
#
# Without `apply`, both only say what would go.


async def remove_repository(
    engine: Engine, name: str, *, apply: bool = False, wait: bool = True
) -> RemovalReport:
    """Say what goes with a repository, and with `apply` remove it: versions, runs, all that it
    remembers.

    Bytes that no other repository needs are then what `prune` removes. Raise
    `RepositoryNotFoundError` when there is no such repository, `VersionKeptError` when a version of
    it is protected, and `RepositoryBusyError` when a version is being made and `wait` is false.
    """
    database = engine.catalog.database
    if not apply:
        _, report = await measure_removal(database, name)
        return report
    report = await remove_recorded(database, name, wait=wait)
    return msgspec.structs.replace(report, applied=True)


async def remove_runs(
    engine: Engine, *, older_than: timedelta, repository: str | None = None, apply: bool = False
) -> int:
    """Count the records of runs that ended longer ago than `older_than`, of a repository or of all,
    and with `apply` remove them.

    Of each repository the last run stays, and the last that went well. Raise
    `RepositoryNotFoundError` when there is no such repository, and `SettingsError` unless
    `older_than` is between nothing and a hundred years.
    """
    expect_span("older_than", older_than)
    return await engine.catalog.runs.remove(older_than, repository, apply=apply)


# A rate that is kept: so many bytes a second, over all who read.
#
# A reader says how much and waits until that much time is due. So a first piece
# is never waited for, and a pause is not saved up for a rush.


class Pace:
    """Keeps `rate` bytes a second; `None` lets no reader wait. Any number of tasks may use it at
    once.
    """

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._free_at = 0.0

    async def spend(self, size: int) -> None:
        """Wait until the `size` bytes, and those that others spent before, are within the rate."""
        if self.rate is None:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + size / self.rate
        await asyncio.sleep(self._free_at - now)


async def digest_at_pace(chunks: AsyncIterable[bytes], pace: Pace) -> tuple[int, dict[str, str]]:
    """Return size and digests of what comes as a `Hasher` does, at the given pace. Raise what the
    chunks raise.
    """
    digest = RunningDigest()
    async for chunk in chunks:
        await in_thread(digest.update, chunk)
        await pace.spend(len(chunk))
    return digest.size, digest.digests()
