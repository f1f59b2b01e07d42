"""The stages of artifacts, in the order of a sync: those whose bytes are stored are found, others
are downloaded, and what came is stored and recorded.

One module: each goes on where the one before ends; none is used alone.
"""

import asyncio
import os
import shutil
import uuid
from collections.abc import Sequence
from functools import partial

from flowsync.acquire.acquire import Acquisition
from flowsync.acquire.sources import ByteSource
from flowsync.declare import DeclarativeArtifact, DeclarativeContent
from flowsync.digest.hashing import verify
from flowsync.errors import (
    IntegrityError,
    SizeMismatchError,
    TransferError,
    UnreadableFileError,
    UnsupportedDigestError,
)
from flowsync.model.artifact import StagedArtifact, StoredArtifact, staged_artifact
from flowsync.model.measures import expect_count
from flowsync.model.url import redact
from flowsync.pipeline.stage import Meter, Stage
from flowsync.runtime.tasks import task_group
from flowsync.stages.admission import check_declared
from flowsync.stages.context import BoundStage
from flowsync.store.durability import store_errors


class QueryExistingArtifacts(BoundStage):
    """Replaces declared artifacts by their stored counterparts.

    Expects declared content. Every artifact with an allowed digest that the catalog knows is
    swapped, deferred ones too: on-demand content whose bytes are here is complete for free. One
    catalog call a batch; order is kept.

    Raises `UnsupportedDigestError` when an artifact declares only digests that the policy forbids,
    and `SizeMismatchError` when upstream declares another size than the stored bytes have. Where
    the sync may go on without the content, the failure stays with the item instead, as that of a
    download does.
    """

    hands_on = True

    async def run(self) -> None:
        """Look the artifacts of each batch up."""
        async for batch in self.batches():
            await self._swap_stored(batch)
            await self.put_all(batch)

    async def _swap_stored(self, batch: list[DeclarativeContent]) -> None:
        wanted = [
            (content, declared)
            for content in batch
            for declared in content.d_artifacts
            if not isinstance(declared.artifact, StoredArtifact)
        ]
        policy = self.context.digest_policy
        # Nearly all declare a sha256, which nearly all policies allow.
        by_sha256 = "sha256" in policy.allowed
        for content, declared in wanted:
            if by_sha256 and declared.artifact.sha256 is not None:
                continue
            if _is_to_be_verified(declared) and policy.refuses(declared.artifact.digests()):
                self._check_digests(content, declared)
        if not wanted:
            return
        artifacts = [declared.artifact for _, declared in wanted]
        found = await self.context.catalog.artifacts.find(artifacts, policy.allowed)
        for (content, declared), stored in zip(wanted, found, strict=True):
            if stored is not None:
                self._swap(content, declared, stored)

    def _check_digests(self, content: DeclarativeContent, declared: DeclarativeArtifact) -> None:
        try:
            self.context.digest_policy.check_expected(
                redact(declared.url), declared.artifact.digests()
            )
        except UnsupportedDigestError as failure:
            self._fail(content, failure)

    def _swap(
        self, content: DeclarativeContent, declared: DeclarativeArtifact, stored: StoredArtifact
    ) -> None:
        size = declared.artifact.size
        if size is None or size == stored.size:
            declared.artifact = stored
        else:
            self._fail(content, SizeMismatchError(redact(declared.url), size, stored.size or 0))

    def _fail(self, content: DeclarativeContent, failure: IntegrityError) -> None:
        if self.context.on_error == "fail":
            raise failure
        content.failure = failure


def _is_to_be_verified(declared: DeclarativeArtifact) -> bool:
    """Say whether its bytes are to come from a source, now or later."""
    return declared.wants_download or declared.remote is not None


# The frame of stages that fetch something for each content: bounded concurrency, completion order,
# cancellation.


class GenericDownloader(BoundStage):
    """Handles up to `max_concurrent_content` contents at a time and puts each on when it is done.

    Content without work overtakes: nothing waits for a slow neighbour. A new item is taken only
    when a slot is free. A failure cancels all that is under way and ends the stage with that error.
    Subclasses say what the work is.
    """

    # What it handles is up to the subclass.
    accepts = staticmethod(Stage.accepts)

    progress_code = "sync.downloading"
    progress_message = "Downloading"

    def __init__(self, max_concurrent_content: int = 200) -> None:
        expect_count("max_concurrent_content", max_concurrent_content, 1)
        self.max_concurrent_content = max_concurrent_content

    async def run(self) -> None:
        """Handle all items."""
        slots = asyncio.Semaphore(self.max_concurrent_content)
        with self.meter(self.progress_code, self.progress_message) as meter:
            async with task_group() as group:
                await slots.acquire()
                async for item in self.items():
                    if self.has_work(item):
                        group.create_task(self._handle(item, slots, meter))
                        await slots.acquire()
                    else:
                        self.pass_by(item, meter)
                        await self.put(item)
                self.last_taken()

    def has_work(self, item: DeclarativeContent) -> bool:
        """Say whether there is anything to do for `item`."""
        raise NotImplementedError

    def pass_by(self, item: DeclarativeContent, meter: Meter) -> None:
        """Note that `item` needs nothing."""

    def last_taken(self) -> None:
        """Note that no item will come any more; the last ones may be under way."""

    async def handle_content(self, item: DeclarativeContent, meter: Meter) -> None:
        """Do the work for one item and count it."""
        raise NotImplementedError

    async def _handle(
        self, item: DeclarativeContent, slots: asyncio.Semaphore, meter: Meter
    ) -> None:
        try:
            with self.working():
                await self.handle_content(item, meter)
                await self.put(item)
        finally:
            slots.release()


# Downloads the artifacts whose bytes are not here yet.


class ArtifactDownloader(GenericDownloader):
    """Fetches every artifact that is neither stored, nor at hand, nor deferred, and replaces it by
    a verified `StagedArtifact`.

    The artifacts of one content are fetched in parallel. The sources of an artifact are tried in
    turn: alternates first, then its own URLs, each with its own remote. A source that failed lately
    is the last resort, instead of a wait before every file (`flowsync.acquire.sources`). Bytes that
    another task of the engine is fetching at the same time are not fetched again but shared. While
    its bytes are in flight a content holds a lease of the budget, its own or one it came with; the
    saver gives it back.

    Raises `TransferError` or `IntegrityError` when a single source failed, `AllSourcesFailedError`
    when several did. Nothing of the body is kept then, unless it is large: the next download of the
    same artifact goes on from the bytes that came (`flowsync.acquire.acquire`). Where the sync
    may go on without the content, the failure stays with the item instead, and `LeaveOut` behind
    this stage decides.
    """

    accepts = staticmethod(check_declared)
    hands_on = True

    progress_code = "sync.downloading.artifacts"
    progress_message = "Downloading Artifacts"

    def has_work(self, item: DeclarativeContent) -> bool:
        """Say whether any artifact of the content has to be downloaded, and was not tried
        already.
        """
        return item.failure is None and any(
            declared.wants_download for declared in item.d_artifacts
        )

    def pass_by(self, item: DeclarativeContent, meter: Meter) -> None:
        """Take the content's artifacts off the announced total, except those that workers
        downloaded, or tried to.
        """
        self._take_off(item, meter)

    def last_taken(self) -> None:
        """Let the next sync fetch."""
        self.context.nearly_fetched()

    async def handle_content(self, item: DeclarativeContent, meter: Meter) -> None:
        """Download what the content lacks, all at once."""
        wanted = [declared for declared in item.d_artifacts if declared.wants_download]
        self._take_off(item, meter)
        if item.lease is None:
            # One for all of them: contents that each held some and waited for more would wait for
            # each other.
            size = sum(declared.artifact.size or 0 for declared in wanted)
            item.lease = await self.context.budget.acquire(size, len(wanted))
        try:
            await self._download_all(wanted, meter)
        except (TransferError, IntegrityError) as failure:
            if self.context.on_error == "fail":
                raise
            item.failure = failure

    def _take_off(self, item: DeclarativeContent, meter: Meter) -> None:
        if meter.total is not None:
            meter.total -= sum(
                not (declared.wants_download or isinstance(declared.artifact, StagedArtifact))
                for declared in item.d_artifacts
            )

    async def _download_all(self, wanted: list[DeclarativeArtifact], meter: Meter) -> None:
        if len(wanted) == 1:
            await self._download(wanted[0], meter)
            return
        async with task_group() as group:
            for declared in wanted:
                group.create_task(self._download(declared, meter))

    async def _download(self, declared: DeclarativeArtifact, meter: Meter) -> None:
        acquisition = Acquisition(
            self.context,
            declared.relative_path,
            declared.artifact,
            _sources(declared),
            count=partial(meter.advance, 0),
        )
        declared.artifact = await acquisition.bring()
        meter.advance(1)


def _sources(declared: DeclarativeArtifact) -> list[ByteSource]:
    """Return the sources of an artifact by priority."""
    headers = declared.extra_data.get("headers", {})
    own = ByteSource(declared.remote, declared.urls, headers)
    if not declared.alternates:
        return [own]
    return [
        *(ByteSource(source.remote, source.urls, headers) for source in declared.alternates),
        own,
    ]


# Stores the bytes of new artifacts and records them.

SMALLEST_BATCH = 200
"""Contents a batch waits for: each batch costs two flushes of the file system, whatever its size
(docs/decisions/0009).
"""

BETWEEN_LULLS = 500
"""Contents a batch waits for while other syncs save theirs, but no longer than until none does: the
file system is busy meanwhile. Sixteen first syncs with 20 000 files of 4 KiB between them take 4.82
s, and 4.96 without this (medians of ten rounds, in turns). When two of them fetched at any time it
was 5.05 and 5.30, and with flushes that take 30 ms more 5.84 and 6.02 (six rounds).
"""


class ArtifactSaver(BoundStage):
    """Makes staged artifacts durable in the store, records them in the catalog, and replaces them
    by their `StoredArtifact`.

    Expects declared content whose artifacts were downloaded, or have a local file of the caller's,
    which is copied and never moved. Bytes are durable before they are recorded. One store call and
    one catalog call a batch; order is kept; the leases of the batch are given back. What wants
    the same bytes gets them from here while they are recorded, and afterwards (`single_flight`).

    Raises `UnreadableFileError` or `IntegrityError` for a local file that cannot be read or is not
    what was declared. Where the sync may go on without the content, the failure stays with the item
    instead, and `LeaveOut` behind this stage decides.
    """

    hands_on = True

    async def run(self) -> None:
        """Save the artifacts of each batch."""
        budget = self.context.budget
        batches = self.batches(
            SMALLEST_BATCH, pressure=budget.pressure, lull=budget.lull, between=BETWEEN_LULLS
        )
        with self.context.single_flight.under_way():
            async for batch in batches:
                with budget.relieving():
                    await self._save(batch)
                    for item in batch:
                        if item.lease is not None:
                            item.lease.release()
                await self.put_all(batch)

    async def _save(self, batch: list[DeclarativeContent]) -> None:
        await self._stage_local_files(batch)
        fresh = [
            (declared, declared.artifact)
            for content in batch
            if content.failure is None
            for declared in content.d_artifacts
            if isinstance(declared.artifact, StagedArtifact)
        ]
        if not fresh:
            return
        stored = await self._record([artifact for _, artifact in fresh])
        for (declared, _), artifact in zip(fresh, stored, strict=True):
            declared.artifact = artifact

    async def _record(self, staged: list[StagedArtifact]) -> Sequence[StoredArtifact]:
        recording = self.context.single_flight.take_over(staged)
        try:
            # What was there already must not be cleaned away before it is recorded.
            async with self.context.store.storing():
                await self.context.store.persist(staged)
                stored = await self.context.catalog.artifacts.save(staged)
            await recording.land(stored)
        finally:
            recording.end()
        return stored

    async def _stage_local_files(self, batch: list[DeclarativeContent]) -> None:
        local = [
            (content, declared)
            for content in batch
            for declared in content.d_artifacts
            if declared.artifact.file is not None
            and not isinstance(declared.artifact, (StagedArtifact, StoredArtifact))
        ]
        if not local:
            return
        async with task_group() as group:
            for item, declared in local:
                group.create_task(self._stage_or_fail(item, declared))

    async def _stage_or_fail(self, item: DeclarativeContent, declared: DeclarativeArtifact) -> None:
        try:
            await self._stage_local_file(declared)
        except (IntegrityError, UnreadableFileError) as failure:
            if self.context.on_error == "fail":
                raise
            item.failure = failure

    async def _stage_local_file(self, declared: DeclarativeArtifact) -> None:
        wanted = declared.artifact
        source = str(wanted.file)
        copy = os.path.join(self.context.staging, uuid.uuid4().hex)
        allowed = self.context.digest_policy.allowed
        expected = {name: value for name, value in wanted.digests().items() if name in allowed}
        await asyncio.to_thread(_copy, source, copy)
        size, digests = await self.context.hasher.digest(copy, frozenset(expected))
        if wanted.size is not None and size != wanted.size:
            raise SizeMismatchError(source, wanted.size, size)
        verify(source, expected, digests)
        declared.artifact = staged_artifact(size, digests, file=copy)


def _copy(source: str, copy: str) -> None:
    try:
        file = open(source, "rb")  # noqa: SIM115 -- closed below: copying has other errors
    except OSError as error:
        raise UnreadableFileError(source, f"cannot be read: {error.strerror}") from error
    with file, store_errors(f"cannot copy {source}"), open(copy, "xb") as target:
        shutil.copyfileobj(file, target, 1 << 20)
