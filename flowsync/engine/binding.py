"""The tie between a catalog and the store of its bytes: each holds the same id, and an engine
refuses what does not match.

A store without an id is taken as the catalog's own only when that is safe:

| the catalog names a store | the store has an id | taken when |
|---|---|---|
| yes | the same | always |
| yes | another | never |
| yes | no | it holds recorded bytes; it is empty and none are recorded; the database is in it |
| no | yes | it holds recorded bytes, or has the id of the catalog |
| no | no | it holds recorded bytes; it is empty and nothing is recorded |

A new store of a catalog in which nothing is recorded gets a new id, so that the one before is known
for another.

Tells observers how far a sync is, a few times a second, from the plain counters of its
stages.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from uuid import UUID, uuid4

import msgspec

from flowsync.catalog.catalog import Catalog
from flowsync.catalog.postgres.schema import StoreBinding
from flowsync.errors import StoreMismatchError
from flowsync.model.events import Event, Observer, SyncProgressed
from flowsync.pipeline.progress import Progress
from flowsync.store.port import BlobStore


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What speaks for or against a store: whether it has blobs at all, whether the catalog records
    any, and whether it has one of these.

    `same_home`: the database lies in the home of the store.
    """

    has_blobs: bool
    recorded: bool
    has_recorded: bool
    same_home: bool

    @property
    def is_fresh(self) -> bool:
        """Whether neither holds anything yet."""
        return not self.has_blobs and not self.recorded


def chosen_id(binding: StoreBinding, found: UUID | None, evidence: Evidence) -> UUID | None:
    """Return the id that catalog and store shall have from now on, or `None` when they do not
    belong together.
    """
    if found is not None:
        if binding.store is None and (evidence.has_recorded or found == binding.catalog):
            return found
        return None
    if evidence.has_recorded:
        return binding.expected
    if binding.store is None:
        return binding.catalog if evidence.is_fresh else None
    if evidence.same_home:
        return binding.store
    return uuid4() if evidence.is_fresh else None


async def bind_store(catalog: Catalog, store: BlobStore, *, same_home: bool) -> None:
    """Return when catalog and store hold the same id. Raise `StoreMismatchError` when they do not
    belong together.
    """
    bound = catalog.database.binding.store
    if bound is not None and bound == await store.identity():
        return
    # Alone in this home: of two first starts the second finds what the first one wrote.
    async with store.removing():
        await _bind_alone(catalog, store, same_home=same_home)


async def _bind_alone(catalog: Catalog, store: BlobStore, *, same_home: bool) -> None:
    binding = await catalog.store_bindings.read()
    found = await store.identity()
    if found is not None and found == binding.store:
        return
    evidence = await _evidence(catalog, store, same_home=same_home)
    chosen = chosen_id(binding, found, evidence)
    if chosen is None:
        raise StoreMismatchError(_mismatch(catalog, binding, store, found, evidence))
    if chosen != binding.store:
        await catalog.store_bindings.bind(binding.store, chosen)
        binding = await catalog.store_bindings.read()
    if chosen != binding.store:
        raise StoreMismatchError(
            f"the store {store.name} is not that of {catalog.database.name}: "
            "another home was opened with that database in this moment, and has its bytes in "
            f"store {binding.store}"
        )
    if found != chosen:
        await store.set_identity(chosen)


async def _evidence(catalog: Catalog, store: BlobStore, *, same_home: bool) -> Evidence:
    sample = await catalog.store_bindings.sample()
    has_recorded = len(await store.missing(sample)) < len(sample)
    has_blobs = has_recorded
    if not has_blobs:
        async with aclosing(store.names(1)) as batches:
            has_blobs = await anext(batches, None) is not None
    return Evidence(
        has_blobs=has_blobs,
        recorded=bool(sample),
        has_recorded=has_recorded,
        same_home=same_home,
    )


def _mismatch(
    catalog: Catalog,
    binding: StoreBinding,
    store: BlobStore,
    found: UUID | None,
    evidence: Evidence,
) -> str:
    if found is not None:
        what = f"it is store {found}, that catalog has its bytes in store {binding.expected}"
    elif evidence.recorded:
        what = "it has none of the bytes that are recorded there"
    else:
        what = "it has bytes, and none are recorded there"
    return (
        f"the store {store.name} is not that of {catalog.database.name}: {what}; "
        "name the home and the database that belong together, or, if they do, "
        f"write {binding.expected} into {store.identity_place}"
    )


_log = logging.getLogger(__name__)

INTERVAL = 0.25
"""Seconds between two looks at the counters. A redraw costs milliseconds, so the number of units
must not decide how often.
"""


def tell(observers: Sequence[Observer], event: Event) -> None:
    """Give `event` to every observer. One that fails is logged: watching a sync must not
    break it.
    """
    for observer in observers:
        try:
            observer(event)
        except Exception:  # noqa: BLE001 - it is the observer's code
            _log.exception("observer %r failed on %s", observer, type(event).__name__)


@asynccontextmanager
async def observed(
    repository: str, progress: Progress, observers: Sequence[Observer]
) -> AsyncIterator[None]:
    """Report `progress` while the block runs, and once more at its end; without observers, do
    nothing.
    """
    if not observers:
        yield
        return
    reporter = asyncio.create_task(_report(repository, progress, observers))
    try:
        yield
    finally:
        reporter.cancel()
        await asyncio.wait([reporter])
        _report_once(repository, progress, observers)


async def _report(repository: str, progress: Progress, observers: Sequence[Observer]) -> None:
    while True:
        _report_once(repository, progress, observers)
        await asyncio.sleep(INTERVAL)


def _report_once(repository: str, progress: Progress, observers: Sequence[Observer]) -> None:
    tell(observers, SyncProgressed(repository=repository, readings=progress.read()))
