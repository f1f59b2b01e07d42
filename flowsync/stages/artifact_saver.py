"""Stores the bytes of new artifacts and records them."""

import asyncio
import os
import shutil
import uuid
from collections.abc import Sequence

from flowsync.declare import DeclarativeArtifact, DeclarativeContent
from flowsync.digest.hashing import verify
from flowsync.errors import IntegrityError, SizeMismatchError, UnreadableFileError
from flowsync.model.artifact import StagedArtifact, StoredArtifact, staged_artifact
from flowsync.runtime.task_groups import task_group
from flowsync.stages.context import BoundStage
from flowsync.store.failures import store_errors

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
    one catalog call a batch; order is kept; the leases of the batch are given back. Whoever wants
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
