"""Takes down what a stream of declared content would change, instead of changing it."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from flowsync.acquire.single_flight import key
from flowsync.catalog.versions.planned_changes import PlannedDownload, PlannedUnit
from flowsync.declare import DeclarativeContent
from flowsync.model.content import repo_key_id
from flowsync.pipeline.stage import Meter
from flowsync.runtime.tasks import task_group
from flowsync.stages.artifact_stages import ArtifactDownloader
from flowsync.stages.context import Bring, bringer
from flowsync.stages.leave_out import can_come_later

if TYPE_CHECKING:
    from flowsync.catalog.versions.planned_changes import Planning


class PlanContent(ArtifactDownloader):
    """Gives each unit, and each artifact that would be downloaded, to `planning`. The end of a
    plan's pipeline.

    Expects declared content whose stored artifacts were looked up. One catalog call a batch. Only
    what a task awaits is downloaded, verified, into the run's staging folder, so that a first
    stage can read it and go on; nothing of it is stored. All else is resolved at once.

    Raises what an `ArtifactDownloader` raises. Content that a sync would leave out is not counted,
    and what awaits it gets its failure.
    """

    hands_on = True

    def __init__(self, planning: "Planning") -> None:
        super().__init__()
        self.planning = planning
        self._bring_stored: Bring | None = None

    async def run(self) -> None:
        """Take down each batch."""
        self._bring_stored = bringer(self.context)
        slots = asyncio.Semaphore(self.max_concurrent_content)
        with self.meter("planning.content", "Planning Content") as meter:
            async with task_group() as group:
                ended = False

                def bring(item: DeclarativeContent) -> None:
                    item.arm(None)
                    # Who begins to wait after the end gets an error from the pipeline.
                    if not ended:
                        group.create_task(self._bring(item, slots))

                async for batch in self.batches():
                    await self._take_down(batch)
                    meter.advance(len(batch))
                    for item in batch:
                        self._settle(item, bring)
                    await self.put_all(batch)
            ended = True

    async def _take_down(self, batch: list[DeclarativeContent]) -> None:
        skipped = [item for item in batch if item.failure is not None and not self._defers(item)]
        if skipped:
            keys = [repo_key_id(item.content) for item in skipped]
            await self.planning.keep([item.key_id for item in skipped], keys)
            batch = [item for item in batch if item.failure is None or self._defers(item)]
        await self.planning.collect([_unit(item) for item in batch], self._downloads(batch))

    def _settle(
        self, item: DeclarativeContent, bring: Callable[[DeclarativeContent], None]
    ) -> None:
        """Resolve the item, or have that done when it is awaited and its bytes have come."""
        if not self.has_work(item):
            self._resolve(item)
        elif item.awaited:
            bring(item)
        else:
            item.arm(partial(bring, item))

    async def _bring(self, item: DeclarativeContent, slots: asyncio.Semaphore) -> None:
        with self.working():
            async with slots:
                await self.handle_content(item, Meter(self.progress_code, self.progress_message))
                if item.lease is not None:
                    item.lease.release()
                    item.lease = None
            self._resolve(item)

    def _resolve(self, item: DeclarativeContent) -> None:
        if item.failure is None or self._defers(item):
            item.bring = self._bring_stored
            item.resolve()
        else:
            item.fail(item.failure.with_traceback(None))

    def _defers(self, item: DeclarativeContent) -> bool:
        return self.context.on_error == "defer" and can_come_later(item)

    def _downloads(self, batch: list[DeclarativeContent]) -> list[PlannedDownload]:
        allowed = self.context.digest_policy.allowed
        wanted = [
            declared.artifact
            for item in batch
            if item.failure is None
            for declared in item.d_artifacts
            if declared.wants_download
        ]
        keys = [key(artifact, allowed) for artifact in wanted]
        return [
            PlannedDownload(digest=None if name is None else "-".join(name), size=artifact.size)
            for artifact, name in zip(wanted, keys, strict=True)
        ]


def _unit(item: DeclarativeContent) -> PlannedUnit:
    return PlannedUnit(
        content_id=item.fix_id(),
        key_id=item.key_id,
        repo_key=repo_key_id(item.content),
        size=sum(declared.artifact.size or 0 for declared in item.d_artifacts),
        bare=not item.d_artifacts,
    )
