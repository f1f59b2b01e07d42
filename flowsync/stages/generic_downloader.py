"""The frame of stages that fetch something for each content: bounded concurrency, completion order,
cancellation.
"""

import asyncio

from flowsync.declare import DeclarativeContent
from flowsync.pipeline.progress import Meter
from flowsync.pipeline.stage import Stage
from flowsync.runtime.task_groups import task_group
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
