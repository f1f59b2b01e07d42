"""Brings what is missing: once for all who ask, from the best source that has it, and into the
store.

1. All requests for the same missing bytes share one passage, in one task of the server's; so a
   client that leaves stops nothing, and a thousand clients are one request to upstream. With the
   syncs of its engine the server shares what either is fetching (`single_flight`), unless that
   takes a sync longer than `FOLLOWED`. Over processes a claim makes servers wait for each other
   (`claimed`); who waited finds the bytes stored.
2. Bytes that are here already, under another path or by another process, are linked and not
   fetched.
3. Sources are tried as everywhere (`flowsync.acquire`): alternate ones, then by priority, those
   without failures first, each with its own remote. One whose bytes were wrong, here or in a sync,
   is left alone for `cool_down` seconds. What an interrupted sync has left is gone on from, and the
   other way round.
4. What is stored was verified; what a `streamed` remote gives is verified as well, and forgotten
   when the last reader has left.
5. That something cannot be stored is logged and is no client's concern: it gets its bytes.
6. What is answered when the bytes cannot be had stands in `access.py`.

Also here: which process fetches what. The claim makes that true over processes.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from msgspec.structs import replace

from flowsync.acquire.acquire import Acquisition, Reception
from flowsync.acquire.sources import ByteSource
from flowsync.catalog.queries.served_paths import ServedFile, ServingSource, own_policy
from flowsync.download.transfer.spool import fresh_path
from flowsync.engine.engine import Engine
from flowsync.errors import (
    CatalogError,
    DeclarationError,
    DigestMismatchError,
    FlowsyncError,
    SettingsError,
    SizeMismatchError,
    StoreError,
    TransferError,
)
from flowsync.model.artifact import Artifact, StagedArtifact, StoredArtifact
from flowsync.model.remote import COOL_DOWN, Remote
from flowsync.runtime.tasks import in_thread, opened_in_thread, task_group
from flowsync.serve.access import no_source
from flowsync.serve.metrics import Metrics
from flowsync.serve.missing.passage import Passage, PassageReader
from flowsync.serve.missing.passage_sink import PassageSink
from flowsync.serve.scratch import Scratch
from flowsync.store.staging import bring, claim

# Which process fetches what, of all that serve one home: a claim is a locked file, and a process
# that dies loses its own.
#
# The reasons stand in docs/decisions/0016.

_FIRST_WAIT: Final = 0.01
_LONGEST_WAIT: Final = 0.25
_NONE: Final = -1


@asynccontextmanager
async def claimed(folder: str, name: str) -> AsyncIterator[None]:
    """Hold the claim on `name` while the block runs, after waiting for its holder. Where no
    file can be made, go without one.
    """
    path = f"{folder}/{name}.claim"
    pause = _FIRST_WAIT
    release = partial(_release, path)
    while (lock := await opened_in_thread(_claim, folder, path, close=release)) is None:
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_WAIT)
    try:
        yield
    finally:
        await in_thread(release, lock)


def _claim(folder: str, path: str) -> int | None:
    """Return the lock's descriptor, `None` while another has it, or `_NONE` when a full or
    read-only disk takes no claims.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return claim(path, os.O_CREAT)
    except OSError:
        return _NONE


def _release(path: str, lock: int | None) -> None:
    if lock is not None and lock != _NONE:
        with suppress(OSError):
            os.unlink(path)
        os.close(lock)


FindRemote = Callable[[str], Remote | None]
"""Gives the remote of that name with its credentials, or `None`. A `SettingsError` says why it
cannot be had.
"""

FOLLOWED: Final = 30.0
"""Seconds that clients wait for another task, as a sync, to bring the bytes: proxies in front give
up after sixty.
"""

_log = logging.getLogger(__name__)


class Missing:
    """What one server is bringing. `group` owns its tasks, `scratch` is where they come."""

    def __init__(
        self,
        engine: Engine,
        scratch: Scratch,
        group: asyncio.TaskGroup,
        metrics: Metrics,
        *,
        find_remote: FindRemote | None = None,
        cool_down: float = COOL_DOWN,
    ) -> None:
        self._engine = engine
        self._scratch = scratch
        self._claims = str(engine.home / "store" / "claims")
        self._group = group
        self._metrics = metrics
        self._find_remote = find_remote
        self._cool_down = cool_down
        self._passages: dict[str, Passage] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def read(self, found: ServedFile, *, unreadable: bool = False) -> PassageReader:
        """Return a reader of the file's bytes, whose fetch begins now unless it is under way. It is
        to be left in any case.

        `unreadable` says that the stored bytes are not to be used: the fetched ones take their
        place.
        """
        key = found.sha256 or f"{found.content_id.hex()}-{os.fsencode(found.relative_path).hex()}"
        passage = self._passages.get(key)
        if passage is not None:
            self._metrics.joined_fetches += 1
            return passage.enter()
        passage = self._passages[key] = Passage(found.size)
        reading = passage.enter()
        unread = found.blake3 if unreadable else None
        task = self._group.create_task(self._bring(key, passage, found, unread))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return reading

    def stop(self) -> None:
        """Stop bringing anything."""
        for task in self._tasks:
            task.cancel()

    async def _bring(
        self, key: str, passage: Passage, found: ServedFile, unread: str | None
    ) -> None:
        self._metrics.running_fetches += 1
        outcome = "failed"
        try:
            async with claimed(self._claims, key[:128]):
                outcome = await self._settle(passage, found, unread)
        except FlowsyncError as failure:
            _log.warning("cannot serve %s: %s", found.relative_path, failure)
            passage.fail(failure)
        except asyncio.CancelledError:
            passage.fail(TransferError(found.relative_path, "the server stops"))
            raise
        except Exception as failure:  # noqa: BLE001 - see below
            # A bug, or a disk that fails in a way that was not foreseen: those who wait are told,
            # and the server goes on.
            _log.exception("cannot serve %s", found.relative_path)
            passage.fail(StoreError(f"{found.relative_path}: {failure!r}"))
        finally:
            del self._passages[key]
            self._metrics.running_fetches -= 1
            self._metrics.fetches[outcome] += 1
            await passage.settle()
            await in_thread(passage.file.discard)
            await passage.leave()

    async def _settle(self, passage: Passage, found: ServedFile, unread: str | None) -> str:
        # Asked side by side, because a client waits for its first byte.
        async with task_group() as group:
            recorded = Artifact(sha256=found.sha256, blake3=found.blake3)
            here = group.create_task(self._here(passage, found, [recorded], unread))
            sources = await self._engine.catalog.serving.sources(
                found, self._engine.digest_policy.allowed, self._cool_down
            )
        if here.result() or (
            found.sha256 is None
            and await self._here(passage, found, [source.artifact for source in sources], unread)
        ):
            return "found"
        usable = [source for source in sources if not self._cools(found, source)]
        if not usable:
            raise no_source(found, sources, unread)
        streams = own_policy(sources) == "streamed" and found.blake3 is None
        lease = await self._engine.budget.acquire(found.size or 0)
        try:
            brought = await self._once(passage, found, usable, keeps=not streams)
            if isinstance(brought, StoredArtifact):
                await self._engine.catalog.serving.link(found, brought)
                return "shared"
            if streams:
                if found.sha256 is None:
                    # Upstream never said which bytes are right. From now on these are.
                    await self._engine.catalog.serving.note_bytes(found, brought)
                return "streamed"
            return await self._store(found, brought)
        finally:
            lease.release()

    async def _once(
        self,
        passage: Passage,
        found: ServedFile,
        sources: Sequence[ServingSource],
        *,
        keeps: bool,
    ) -> StagedArtifact | StoredArtifact:
        """Bring the bytes into the passage: those that another task of the engine is bringing, or
        else from the sources, and then for other tasks too.
        """
        folder = await self._scratch.folder()
        passage.file.path = fresh_path(folder)
        wanted = [_wanted(found, source) for source in sources]
        offers = [self._offer(source, each) for source, each in zip(sources, wanted, strict=True)]
        recorded = {id(offer): source for offer, source in zip(offers, sources, strict=True)}

        async def failed(offer: ByteSource, failure: Exception) -> None:
            source = recorded[id(offer)]
            _log.warning("source %s failed: %s", source.remote.name, failure)
            if isinstance(failure, (DigestMismatchError, SizeMismatchError)):
                await self._engine.catalog.serving.mark_failed(source)

        refuses = self._engine.digest_policy.refuses
        acquisition = Acquisition(
            self._engine.acquire_ports(folder),
            found.relative_path,
            next((each for each in wanted if not refuses(each.digests())), wanted[0]),
            offers,
            Reception(
                new_sink=partial(PassageSink, passage),
                failed=failed,
                patience=FOLLOWED,
                staged_only=found.blake3 is not None,
                keeps=keeps,
            ),
        )
        brought = await acquisition.bring()
        if passage.settled or await self._take(passage, brought):
            return brought
        return await acquisition.fetch()

    async def _take(self, passage: Passage, here: StagedArtifact | StoredArtifact) -> bool:
        """Let readers have bytes that are here; return whether they can be had."""
        if isinstance(here, StoredArtifact):
            return await self._take_stored(passage, str(here.blake3), here.size or 0)
        if here.body is not None:
            await passage.take_body(here.body)
            return True
        return await passage.take_file(str(here.file), here.size or 0, own=True)

    async def _take_stored(self, passage: Passage, name: str, size: int) -> bool:
        store = self._engine.store
        path = store.local(name)
        if path is not None:
            return await passage.take_file(path, size)
        try:
            files = await bring(store, [name], await self._scratch.folder())
        except StoreError as failure:
            _log.warning("cannot read blob %s: %s", name, failure)
            return False
        return name in files and await passage.take_file(files[name], size, own=True)

    async def _here(
        self,
        passage: Passage,
        found: ServedFile,
        declared: Sequence[Artifact],
        unread: str | None,
    ) -> bool:
        """Say whether bytes with the declared digests are here after all; then the passage has
        them. The blob `unread` does not count.
        """
        wanted = [artifact for artifact in declared if artifact.digests()]
        allowed = self._engine.digest_policy.allowed
        for stored in await self._engine.catalog.artifacts.find(wanted, allowed):
            if stored is None or stored.blake3 == unread:
                continue
            if await self._take(passage, stored):
                await self._engine.catalog.serving.link(found, stored)
                return True
        return False

    def _offer(self, source: ServingSource, wanted: Artifact) -> ByteSource:
        try:
            remote = self._with_credentials(source.remote)
        except (SettingsError, DeclarationError) as refused:
            return ByteSource(None, source.urls, source.headers, wanted, refused)
        return ByteSource(remote, source.urls, source.headers, wanted)

    def _cools(self, found: ServedFile, source: ServingSource) -> bool:
        """Say whether the source gave wrong bytes lately, to this server or to another task of the
        engine.
        """
        wanted, now = _wanted(found, source), time.monotonic()
        return source.cooling or self._engine.cooling.gave_wrong_bytes(
            source.urls, wanted, now, self._cool_down
        )

    async def _store(self, found: ServedFile, staged: StagedArtifact) -> str:
        store, catalog = self._engine.store, self._engine.catalog
        recording = self._engine.single_flight.take_over([staged])
        try:
            async with store.storing():
                await store.persist([staged])
                (stored,) = await catalog.artifacts.save([staged])
                await catalog.serving.link(found, stored)
            await recording.land([stored])
        except (StoreError, CatalogError) as failure:
            _log.warning("served %s but could not store it: %s", found.relative_path, failure)
            return "not stored"
        finally:
            recording.end()
        return "stored"

    def _with_credentials(self, recorded: Remote) -> Remote:
        name = recorded.name
        given = None if self._find_remote is None else self._find_remote(name)
        return given or self._engine.alternate_remotes.get(name) or recorded


def _wanted(found: ServedFile, source: ServingSource) -> Artifact:
    """Return what the source declares of the bytes, and what is known of them besides."""
    declared = source.artifact
    return replace(
        declared,
        sha256=declared.sha256 if found.sha256 is None else found.sha256,
        size=found.size if declared.size is None else declared.size,
    )
