"""What goes on in an engine: syncs, plans, exports, clean-up. Closing the engine ends all of it.

1. An operation is entered before it takes anything of the engine, and left when it holds nothing
   any more.
2. Closing refuses new ones and ends those that have not begun, such as syncs that wait for their
   turn. The others go on for as long as they are given, then they end too. It returns when all have
   ended.
3. An operation ends where it waits, by a cancellation of its task that comes out as an error:
   `EngineClosedError`, or `SyncTimeoutError` at its deadline. Once it has `settled`, in its last
   step, nothing ends it any more.

Also here: the tie between a catalog and its store, and what observers are told. Each operation is
checked, entered and told of here.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from uuid import UUID, uuid4

import msgspec

from flowsync.catalog.catalog import Catalog
from flowsync.catalog.postgres.schema import StoreBinding
from flowsync.errors import EngineClosedError, StoreMismatchError
from flowsync.model.events import Event, Observer, SyncProgressed
from flowsync.pipeline.stage import Progress
from flowsync.store.port import BlobStore

P = ParamSpec("P")
T = TypeVar("T")


class Operation:
    """One thing that goes on, made by `Operations`. `began` tells it from one that still waits to
    begin.
    """

    def __init__(self) -> None:
        self.began = False
        self._error: Callable[[], Exception] | None = None
        self._scope: asyncio.Timeout | None = None
        self._settled = False

    @asynccontextmanager
    async def endable(self) -> AsyncIterator[None]:
        """Let the block be ended; what ended it is raised."""
        if self._error is not None:
            raise self._error()
        scope = self._scope = asyncio.timeout(None)
        try:
            async with scope:
                yield
        except Exception as error:
            # Whatever the clean-up raised besides, this is why it ended.
            if not scope.expired() or self._error is None:
                raise
            raise self._error() from error
        finally:
            self._scope = None

    def begin(self, seconds: float | None, late: Callable[[], Exception]) -> None:
        """Note that it begins now, and has so many seconds, if they are limited, before it ends
        with the error that `late` makes.
        """
        self.began = True
        if seconds is not None and self._scope is not None and not self._scope.expired():
            self._error = late
            self._scope.reschedule(asyncio.get_running_loop().time() + seconds)

    def settle(self) -> None:
        """Let nothing end it any more; raise `CancelledError` when its end has come."""
        self._settled = True
        if self._scope is not None:
            if self._scope.expired():
                raise asyncio.CancelledError
            self._scope.reschedule(None)

    def end(self, error: Callable[[], Exception]) -> None:
        """End it where it waits, with the error that `error` makes, unless its end has come
        already.
        """
        if self._settled or (self._scope is not None and self._scope.expired()):
            return
        self._error = error
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())


class Operations:
    """All operations of one engine, used from its loop. `home` names the engine in errors. Without
    `is_open` they belong to an engine that is not open yet, and none can be entered.
    """

    def __init__(self, home: object, *, is_open: bool = True) -> None:
        self._home = home
        self._going: set[Operation] = set()
        self._closed = not is_open
        self._state = "was closed" if is_open else "is not open"
        self._none_left = asyncio.Event()

    def expect_open(self) -> None:
        """Raise `EngineClosedError` when the engine is not open, or is being closed."""
        if self._closed:
            raise self.closed_error()

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[Operation]:
        """Count an operation while the block runs. Raise `EngineClosedError` as `expect_open`
        does.
        """
        self.expect_open()
        operation = Operation()
        self._going.add(operation)
        try:
            yield operation
        finally:
            self._going.discard(operation)
            if not self._going:
                self._none_left.set()

    @asynccontextmanager
    async def endable(self) -> AsyncIterator[Operation]:
        """Enter an operation that has begun, and that ends with the engine in any place of the
        block.
        """
        async with self.entered() as operation, operation.endable():
            operation.began = True
            yield operation

    async def close(self, drain: float) -> None:
        """Refuse new ones, end those that wait to begin, and after `drain` seconds the rest; return
        when none is left.
        """
        self._closed = True
        self.end_within(drain)
        for operation in self._going:
            if not operation.began:
                operation.end(self.closed_error)
        while self._going:
            self._none_left.clear()
            await self._none_left.wait()

    def end_within(self, seconds: float) -> None:
        """End after so many seconds what goes on then."""
        if seconds == math.inf:
            return
        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, self._end_all)
        else:
            self._end_all()

    def closed_error(self) -> EngineClosedError:
        """Return what operations end with that closing ends."""
        return EngineClosedError(f"the engine at {self._home} {self._state}")

    def _end_all(self) -> None:
        for operation in self._going:
            operation.end(self.closed_error)


class HasOperations(Protocol):
    """An engine, for what is below it."""

    operations: Operations


E = TypeVar("E", bound=HasOperations)


def ends_with_engine(
    work: Callable[Concatenate[E, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[E, P], Coroutine[Any, Any, T]]:
    """Make `work` an operation of the engine that is its first argument: closing that ends it with
    an `EngineClosedError`.
    """

    @wraps(work)
    async def run(engine: E, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with engine.operations.endable():
            return await work(engine, *args, **kwargs)

    return run


# The tie between a catalog and the store of its bytes: each holds the same id, and an engine
# refuses what does not match.
#
# A store without an id is taken as the catalog's own only when that is safe:
#
# | the catalog names a store | the store has an id | taken when | |---|---|---| | yes | the same |
# always | | yes | another | never | | yes | no | it holds recorded bytes; it is empty and none are
# recorded; the database is in it | | no | yes | it holds recorded bytes, or has the id of the
# catalog | | no | no | it holds recorded bytes; it is empty and nothing is recorded |
#
# A new store of a catalog in which nothing is recorded gets a new id, so that the one before is
# known for another.


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


# Tells observers how far a sync is, a few times a second, from the plain counters of its stages.

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
