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
   storing from before it looks for the blob until it is recorded (`store/guard.py`). Neither is
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

Locks are taken in one order: the store's, a database connection, rows. Whoever stores takes the
store's lock without holding a connection.

Memory holds one window of ids. A transaction covers one window, and the store's lock at most some
hundreds of removals.
"""

import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Final

from flowsync.catalog.upkeep.orphans import WINDOW, Gone
from flowsync.engine.engine import Engine
from flowsync.engine.operations import ends_with_engine
from flowsync.model.content import Content
from flowsync.model.upkeep import PruneReport
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
    artifacts without a unit, blobs without an artifact and dead staging go in any case.
    """
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
