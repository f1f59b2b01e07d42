"""Downloads the artifacts whose bytes are not here yet.

The frame of stages that fetch something for each content: bounded concurrency, completion order,
cancellation.
"""

import asyncio
from functools import partial

from flowsync.acquire.acquire import Acquisition
from flowsync.acquire.sources import ByteSource
from flowsync.declare import DeclarativeArtifact, DeclarativeContent
from flowsync.errors import IntegrityError, TransferError
from flowsync.model.artifact import StagedArtifact
from flowsync.pipeline.progress import Meter
from flowsync.pipeline.stage import Stage
from flowsync.runtime.task_groups import task_group
from flowsync.stages.admission import check_declared
from flowsync.stages.context import BoundStage


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
        if max_concurrent_content < 1:
            raise ValueError(
                f"max_concurrent_content must be at least 1, found {max_concurrent_content}"
            )
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
