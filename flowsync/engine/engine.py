"""The engine: owner of everything a process shares between its syncs.

1. It is opened explicitly, and closes what it opened, in reverse order, also when opening fails
   half-way.
2. Many syncs use it at once. It belongs to the loop it was opened in. Closing ends all that uses it
   (`operations`), and leaves nothing behind.
3. Without a database URL it starts the embedded PostgreSQL in its home, or joins one that another
   process started there.
4. Nothing here reads the environment, but `from_environment`, which says so.

One module: it opens, holds and closes what a process owns, in one order.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from flowsync.acquire.single_flight import SingleFlight
from flowsync.acquire.sources import AcquirePorts, Cooling
from flowsync.catalog.catalog import Catalog
from flowsync.catalog.records.remotes import check_alternate_source
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.digest.pool import Hasher
from flowsync.download.fetcher import Backoff, UrlFetcher, open_fetcher
from flowsync.embedded_postgres.server import EmbeddedPostgres
from flowsync.engine.home import (
    EMBEDDED_BYTES,
    STORE_BYTES,
    Reserve,
    absolute,
    default_home,
    make_home,
)
from flowsync.engine.operations import Operations, bind_store
from flowsync.engine.turns import Turns
from flowsync.errors import FlowsyncError, SettingsError
from flowsync.model.artifact import DigestPolicy
from flowsync.model.events import Observer
from flowsync.model.measures import (
    LARGEST_RATE,
    MOST_CONNECTIONS,
    MOST_WORKERS,
    expect_count,
    expect_number,
)
from flowsync.model.remote import Remote
from flowsync.model.repository import Repository
from flowsync.pipeline.budget import Budget
from flowsync.runtime import descriptors
from flowsync.runtime.executor import Executor
from flowsync.runtime.local_processes import LocalProcesses
from flowsync.runtime.tasks import in_thread
from flowsync.stages.context import DownloadWorkers
from flowsync.stages.remote.download_worker import warm_up
from flowsync.store.local.store import LocalBlobStore
from flowsync.store.port import BlobStore

DOWNLOAD_WORKERS = 0
"""Processes beside this one that download and verify. None, whatever the number of cores: on two
cores one or two of them paid for many small files and lost time with large ones
(docs/decisions/0014; `make bench SCENARIO=first_large ARGS="--workers 0 1 2"`).
"""

IN_FLIGHT_BYTES = 1 << 30
"""Bytes between downloader and saver, over all syncs of an engine."""

IN_FLIGHT_ITEMS = 2000
"""Artifacts between downloader and saver; small bodies are kept in memory there, so this bounds
memory too. Room for what is being saved and for as much again: with 1000, downloads waited for the
saver, and a first sync of 20 000 files of 4 KiB took 4.9 s instead of 4.6 (3000: 4.5 s).
"""

SYNCS_AT_ONCE = 8
"""Syncs that go on at a time. Each holds a session of the database, and a server has some hundred
for all who use it.
"""

_USUAL_POLICY = DigestPolicy()


class Engine:
    """The resources of one process: catalog, blob store, connections, hash workers, limits.

    `home` is the folder of the store and, without `database_url`, of the embedded PostgreSQL.
    `store` is another blob store in the place of that folder: an open one, which the engine does
    not close. `hash_workers` is the number of hashing processes (default: one a core). `workers` is
    the number of processes that download and verify; 0 does that in this one. `executor` has them
    done elsewhere instead, by `executor.workers` workers; the engine does not close it.
    `allowed_roots` are the folders that `file://` URLs may lead into; `None` allows all that the
    process may read. `in_flight_bytes` and `in_flight_items` bound what is being fetched, or was
    and is not recorded yet, over all syncs: memory, disk, and what a killed process has to fetch
    again. `syncs_at_once` is how many syncs go on at most, whatever number is asked for; the others
    wait for their turn (`turns`). `backoff` is how long failed requests wait before the next try.
    `observers` get the events of every sync. `spends_reserve` is for what frees space: the room
    that a home keeps for it (`home.py`) is given up when the engine opens, and taken again when
    it closes, if there is room.

    Raises `SettingsError` for a number with which no sync could ever go on, and for an empty home.
    """

    def __init__(
        self,
        home: str | os.PathLike[str],
        *,
        database_url: str | None = None,
        store: BlobStore | None = None,
        max_connections: int = 8,
        hash_workers: int | None = None,
        workers: int = DOWNLOAD_WORKERS,
        executor: Executor | None = None,
        allowed_roots: Sequence[Path] | None = None,
        digest_policy: DigestPolicy | None = None,
        in_flight_bytes: int | None = IN_FLIGHT_BYTES,
        in_flight_items: int | None = IN_FLIGHT_ITEMS,
        syncs_at_once: int = SYNCS_AT_ONCE,
        backoff: Backoff | None = None,
        observers: Sequence[Observer] = (),
        spends_reserve: bool = False,
    ) -> None:
        expect_count("max_connections", max_connections, 1, MOST_CONNECTIONS)
        if hash_workers is not None:
            expect_count("hash_workers", hash_workers, 1, MOST_WORKERS)
        expect_count("workers", workers, 0, MOST_WORKERS)
        if in_flight_bytes is not None:
            expect_count("in_flight_bytes", in_flight_bytes, 0, LARGEST_RATE)
        if in_flight_items is not None:
            expect_count("in_flight_items", in_flight_items)
        expect_count("syncs_at_once", syncs_at_once, 1)
        if executor is not None and workers:
            raise SettingsError(
                f"downloads are done by {workers} worker processes or by an executor, found both; "
                "leave workers out"
            )
        self.home = absolute(home, "home")
        self.database_url = database_url
        self.digest_policy = digest_policy or _USUAL_POLICY
        self.observers = tuple(observers)
        self._given_store = store
        self._max_connections = max_connections
        self._hash_workers = hash_workers
        self._worker_count = workers
        self._executor = executor
        self._allowed_roots = allowed_roots
        self.in_flight_bytes = in_flight_bytes
        self.in_flight_items = in_flight_items
        self.syncs_at_once = syncs_at_once
        self._backoff = backoff or Backoff()
        self._spends_reserve = spends_reserve
        self._resources: AsyncExitStack | None = None
        self._closing: asyncio.Task[None] | None = None
        self.alternate_remotes: dict[str, Remote] = {}
        self.embedded: EmbeddedPostgres | None = None
        self.catalog: Catalog
        self.store: BlobStore
        self.fetcher: UrlFetcher
        self.hasher: Hasher
        self.workers: DownloadWorkers | None = None
        self._transfers: _Transfers
        self.operations = Operations(self.home, is_open=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Return an engine, not yet open, at `FLOWSYNC_HOME` with the database of
        `FLOWSYNC_DATABASE_URL`, where these are set.
        """
        home = environ.get("FLOWSYNC_HOME") or default_home(environ)
        return cls(home, database_url=environ.get("FLOWSYNC_DATABASE_URL") or None)

    @property
    def is_open(self) -> bool:
        """Whether the engine holds its resources, and is not being closed."""
        return self._resources is not None and self._closing is None

    @property
    def was_closed(self) -> bool:
        """Whether the engine was open once, and was closed, or is being closed."""
        return self._closing is not None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Open everything.

        Raises `SettingsError` when the process may have too few files open, `StoreUnwritableError`
        when the home cannot be written, `CatalogUnavailableError` when no database answers,
        `UnfitDatabaseError` when it cannot hold a catalog, `SchemaTooNewError` when it belongs to a
        newer flowsync, and `StoreMismatchError` when home and database do not belong together.
        """
        if self._resources is not None:
            raise FlowsyncError(f"the engine at {self.home} is open already")
        descriptors.open_missing()
        async with AsyncExitStack() as resources:
            await self._open(resources)
            self._resources, self._closing = resources.pop_all(), None

    async def close(self, *, drain: float = 0.0) -> None:
        """Close everything that was opened; the last process that uses an embedded PostgreSQL stops
        it.

        Syncs and other work of the engine that go on may do so for `drain` seconds more; what has
        not begun, and then the rest, ends with an `EngineClosedError`, and nothing half-done is
        visible. Closing goes on to its end also when the caller is cancelled. Called again
        meanwhile, it waits for the same end, and may bring it nearer. No seconds are left where
        `drain` is negative; infinity is for ever. Raises `SettingsError` for what is no number.
        """
        expect_number("drain", drain)
        if self._resources is None:
            return
        # An iterator that it left open must not have the task cancelled that closes the engine.
        self.catalog.database.leave_open(asyncio.current_task())
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(self._resources, drain))
        else:
            self.operations.end_within(drain)
        await asyncio.shield(self._closing)

    async def _close(self, resources: AsyncExitStack, drain: float) -> None:
        try:
            await self.operations.close(drain)
        finally:
            try:
                await resources.aclose()
            finally:
                self._resources = None

    @property
    def budget(self) -> Budget:
        """What may be on its way from upstreams to the store at a time."""
        return self._transfers.budget

    @property
    def single_flight(self) -> SingleFlight:
        """The bytes that are on their way, so that they are fetched once."""
        return self._transfers.single_flight

    @property
    def cooling(self) -> Cooling:
        """The sources that gave wrong bytes a little while ago."""
        return self._transfers.cooling

    @property
    def turns(self) -> Turns:
        """Which syncs go on, and which wait."""
        return self._transfers.turns

    def bind(self, remote: Remote) -> Remote:
        """Let downloaders of `remote` use this engine's connections and limits, and return it."""
        remote.bind(self.fetcher)
        return remote

    def acquire_ports(self, staging: str) -> AcquirePorts:
        """Return what it takes to bring bytes into `staging`, a staging folder of the store."""
        return AcquirePorts(
            fetcher=self.fetcher,
            hasher=self.hasher,
            digest_policy=self.digest_policy,
            single_flight=self.single_flight,
            cooling=self.cooling,
            staging=staging,
        )

    async def add_alternate_source(self, name: str, remote: Remote, *, priority: int = 0) -> None:
        """Let syncs with `acs=True` fetch bytes from `remote` first: whatever it was recorded to
        have by an on-demand sync of its own.

        Sources with a higher priority come first. Raises `DeclarationError` for a name or a
        priority that cannot be recorded.
        """
        check_alternate_source(name, priority)
        ids = await self.catalog.remotes.ids([remote])
        await self.catalog.remotes.add_alternate_source(name, ids[remote.name], priority)
        self.alternate_remotes[remote.name] = remote

    @asynccontextmanager
    async def new_version(
        self, repository: Repository, *, wait: bool = True
    ) -> AsyncIterator[NewVersion]:
        """Open a new version of `repository` to add and remove content by hand; it is completed
        when the block ends without an error.
        """
        opened = self.catalog.repositories.new_version(repository, wait=wait)
        async with self.operations.endable() as operation, opened as version:
            version.this_sync = lambda _: operation.settle()
            yield version

    async def _open(self, resources: AsyncExitStack) -> None:
        if descriptors.allowed() < descriptors.LEAST:
            raise SettingsError(
                f"flowsync needs at least {descriptors.LEAST} files and sockets at once; "
                f"{descriptors.how_to_raise()}"
            )
        await asyncio.to_thread(make_home, self.home)
        reserve = Reserve(self.home, STORE_BYTES if self.database_url else EMBEDDED_BYTES)
        if self._spends_reserve:
            await asyncio.to_thread(reserve.give_up)
            resources.push_async_callback(asyncio.to_thread, reserve.take_back)
        else:
            await asyncio.to_thread(reserve.keep)
        store = self._given_store
        if store is None:
            local = LocalBlobStore(self.home / "store")
            store = await resources.enter_async_context(local)
        scratch = await resources.enter_async_context(store.staging())
        conninfo = self.database_url or await self._start_embedded(resources)
        catalog = Catalog(conninfo, locate=store.local, max_connections=self._max_connections)
        self.catalog = await resources.enter_async_context(catalog)
        same_home = self.embedded is not None and self._given_store is None
        await bind_store(catalog, store, same_home=same_home)
        self.fetcher = await resources.enter_async_context(
            open_fetcher(scratch, self._allowed_roots, backoff=self._backoff)
        )
        self.hasher = await resources.enter_async_context(Hasher(self._hash_workers))
        self.operations = Operations(self.home)
        self._transfers = _Transfers(self)
        self.workers = await self._open_workers(resources, scratch)
        self.store = store

    async def _open_workers(
        self, resources: AsyncExitStack, scratch: str
    ) -> DownloadWorkers | None:
        executor = self._executor
        if executor is None and self._worker_count:
            processes = LocalProcesses(self._worker_count, warm_up)
            executor = await resources.enter_async_context(processes)
        if executor is None:
            return None
        roots = self._allowed_roots
        return DownloadWorkers(
            executor=executor,
            scratch=scratch,
            allowed_roots=None if roots is None else tuple(str(root.absolute()) for root in roots),
            backoff=self._backoff,
        )

    async def _start_embedded(self, resources: AsyncExitStack) -> str:
        server = EmbeddedPostgres(self.home / "database")
        await resources.enter_async_context(_running(server))
        self.embedded = server
        return server.conninfo()


class _Transfers:
    """What the syncs and served misses of an open engine share. A part is made when it is first
    asked for: a command that shows something needs none.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @cached_property
    def budget(self) -> Budget:
        return Budget(size=self._engine.in_flight_bytes, items=self._engine.in_flight_items)

    @cached_property
    def single_flight(self) -> SingleFlight:
        return SingleFlight()

    @cached_property
    def cooling(self) -> Cooling:
        return Cooling()

    @cached_property
    def turns(self) -> Turns:
        return Turns(
            min(self._engine.syncs_at_once, descriptors.syncs()),
            self.budget.waits_for_relief,
            self._engine.fetcher.traffic,
        )


@asynccontextmanager
async def _running(server: EmbeddedPostgres) -> AsyncIterator[None]:
    starting = asyncio.get_running_loop().run_in_executor(None, server.start)
    # When this task is cancelled, nothing else asks how starting ended.
    starting.add_done_callback(_look_at)
    try:
        await asyncio.shield(starting)
        yield
    finally:
        # A thread cannot be cancelled. Stopping waits in another one until starting has ended, so
        # the server is stopped however often this task is cancelled.
        await in_thread(server.stop)


def _look_at(ended: asyncio.Future[None]) -> None:
    if not ended.cancelled():
        ended.exception()
