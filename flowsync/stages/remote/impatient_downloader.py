"""The downloader of a worker: does what can be done without waiting long, and leaves the rest to
the process that sent it.

A batch comes back as a whole, and its worker is busy as long, so one artifact that cannot be had,
or not yet, would hold up all others: upstream answers late, or asks to try again in a minute. So a
batch is over when nothing arrived for `QUIET_SECONDS`, and after `BATCH_SECONDS` in any case.
Contents that are not done then are given up and put on as they came; what was complete of them
stays. The pipeline's own `ArtifactDownloader` begins their downloads anew, where they hold up
nobody.
"""

import asyncio
from typing import Final

from flowsync.declare import DeclarativeContent
from flowsync.model.fetch import Fetched, Fill, Held, Pour, Received, Sink
from flowsync.model.remote import Fetcher, FetchRequest
from flowsync.pipeline.progress import Meter
from flowsync.runtime.task_groups import task_group
from flowsync.stages.artifact_downloader import ArtifactDownloader

QUIET_SECONDS: Final = 3.0
"""More than a healthy upstream takes to answer, also one that is far away."""

BATCH_SECONDS: Final = 30.0
"""Long enough for a full batch over a slow line; only an upstream that trickles takes longer."""


class Pulse:
    """When something arrived last, by the clock of the running loop."""

    def __init__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self.last = self._now()

    def beat(self) -> None:
        """Note that something arrives now."""
        self.last = self._now()


class HastyDownloader(ArtifactDownloader):
    """An `ArtifactDownloader` that ends soon after `pulse` has stopped. Serves one batch."""

    def __init__(
        self,
        max_concurrent_content: int,
        pulse: Pulse,
        *,
        quiet_seconds: float = QUIET_SECONDS,
        batch_seconds: float = BATCH_SECONDS,
    ) -> None:
        super().__init__(max_concurrent_content)
        self._pulse = pulse
        self._quiet_seconds = quiet_seconds
        self._batch_seconds = batch_seconds
        self._limits: set[asyncio.Timeout] = set()
        self._over = False

    async def run(self) -> None:
        """Handle all items, or give them up."""
        # Only now: the batch may have made the worker import the modules of its classes.
        self._pulse.beat()
        async with task_group() as group:
            watch = group.create_task(self._watch())
            await super().run()
            watch.cancel()

    def last_taken(self) -> None:
        """Nothing: a batch is not the sync."""

    async def handle_content(self, item: DeclarativeContent, meter: Meter) -> None:
        """Download what the content lacks, unless the batch is over before that."""
        if self._over:
            return
        limit = asyncio.timeout(None)
        self._limits.add(limit)
        try:
            async with limit:
                await super().handle_content(item, meter)
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            self._limits.discard(limit)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._batch_seconds
        while (due := min(self._pulse.last + self._quiet_seconds, end)) > loop.time():  # noqa: ASYNC110 -- each piece moves what is waited for
            await asyncio.sleep(due - loop.time())
        self._over = True
        for limit in self._limits:
            limit.reschedule(loop.time())


class WatchedFetcher:
    """A fetcher whose every piece is a beat of `pulse`."""

    def __init__(self, fetcher: Fetcher, pulse: Pulse) -> None:
        self._fetcher = fetcher
        self._pulse = pulse

    @property
    def closed(self) -> bool:
        return self._fetcher.closed

    async def download(self, request: FetchRequest) -> Fetched:
        return await self._fetcher.download(request)

    async def stream(self, request: FetchRequest, sink: Sink) -> Received:
        return await self._fetcher.stream(request, _WatchedSink(sink, self._pulse))


class _WatchedSink:
    def __init__(self, sink: Sink, pulse: Pulse) -> None:
        self._sink = sink
        self._pulse = pulse

    @property
    def held(self) -> Held | None:
        return self._sink.held

    def begin(self, validator: str | None) -> None:
        self._sink.begin(validator)

    async def write(self, chunk: bytes) -> None:
        self._pulse.beat()
        await self._sink.write(chunk)

    def direct(self, size: int) -> Fill | None:
        fill = self._sink.direct(size)
        if fill is None:
            return None

        async def watched(pour: Pour) -> None:
            self._pulse.beat()
            await fill(pour)

        return watched

    async def restart(self) -> None:
        await self._sink.restart()

    async def finish(self) -> None:
        await self._sink.finish()
        self._pulse.beat()
