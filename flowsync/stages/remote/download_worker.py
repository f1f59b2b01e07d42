"""What runs in a download worker: batches of declared content, downloaded and verified, one batch
after the other.

1. A thread has one event loop and one fetcher, made with the first batch and kept: connections
   stay open from batch to batch. The kernel closes them when the process is ended.
2. Files are hashed in a thread here, by no further process, and lie below the staging folder of the
   run that sent the batch; or, where that is on another machine, in a folder of this process until
   their bytes are sent.
3. The stage is that of the pipeline, in a hurry (`flowsync.stages.remote.download_worker`);
   what it needs of a run is in `DownloadContext`.

Decided: what is kept between two batches is the module's, because nothing else is there to hold it
between two calls of a plain function. Each thread has its own: that of a cluster's worker may be
one of several, and an event loop belongs to a thread.

Also here: the downloader that waits for nothing long.
"""

import asyncio
import tempfile
import threading
from contextlib import AsyncExitStack
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from flowsync.acquire.single_flight import SingleFlight
from flowsync.acquire.sources import Cooling
from flowsync.declare import DeclarativeContent
from flowsync.digest.pool import InlineHasher
from flowsync.download.fetcher import Backoff, open_fetcher
from flowsync.model.artifact import DigestPolicy
from flowsync.model.remote import Fetched, Fetcher, FetchRequest, Fill, Held, Pour, Received, Sink
from flowsync.model.repository import ErrorPolicy
from flowsync.pipeline.budget import Account, Budget
from flowsync.pipeline.remote.protocol import BatchRequest
from flowsync.pipeline.remote.segment_worker import answer
from flowsync.pipeline.stage import Meter
from flowsync.runtime.executor import Wanted
from flowsync.runtime.tasks import task_group
from flowsync.stages.artifact_stages import ArtifactDownloader
from flowsync.stages.remote.codecs import WorkerDeclarationCodec

# The downloader of a worker: does what can be done without waiting long, and leaves the rest to the
# process that sent it.
#
# A batch comes back as a whole, and its worker is busy as long, so one artifact that cannot be had,
# or not yet, would hold up all others: upstream answers late, or asks to try again in a minute. So
# a batch is over when nothing arrived for `QUIET_SECONDS`, and after `BATCH_SECONDS` in any case.
# Contents that are not done then are given up and put on as they came; what was complete of them
# stays. The pipeline's own `ArtifactDownloader` begins their downloads anew, where they hold up
# nobody.

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


CONCURRENT_CONTENT: Final = 200
"""Contents of a batch that are handled at a time: all of them."""


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """What a run tells its workers: where bytes are staged, and its policies; and what its engine
    allows, with how many workers. Where workers do not share its files, both folders are `None`.
    """

    staging: str | None
    allowed_digests: frozenset[str]
    on_error: ErrorPolicy
    scratch: str | None
    allowed_roots: tuple[str, ...] | None
    backoff: Backoff
    workers: int


class DownloadContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a `RunContext` has that downloads need. The leases of the budget are the pipeline's
    affair: here nothing waits for any.
    """

    fetcher: Fetcher
    hasher: InlineHasher
    digest_policy: DigestPolicy
    budget: Account
    single_flight: SingleFlight
    cooling: Cooling
    on_error: ErrorPolicy
    staging: str


_Settings = tuple[str, tuple[str, ...] | None, Backoff, int]


def download_batch(question: bytes, is_wanted: Wanted) -> bytes:
    """Answer an encoded `BatchRequest` whose terms are `Terms` and whose body is that of a
    `DeclarationCodec`.
    """
    return _place().download(msgspec.msgpack.decode(question, type=BatchRequest), is_wanted)


def warm_up() -> None:
    """Make the process ready for its first batch."""
    _place()


_here = threading.local()


def _place() -> "_Place":
    try:
        place: _Place = _here.place
    except AttributeError:
        place = _here.place = _Place()
    return place


class _Place:
    """What one thread keeps between batches."""

    def __init__(self) -> None:
        # In a batch it would count as time in which nothing arrives.
        import_module("flowsync.download.http.origin")
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._opened = AsyncExitStack()
        self._fetchers: dict[_Settings, Fetcher] = {}
        self._single_flight = SingleFlight()
        self._cooling = Cooling()

    def download(self, question: BatchRequest, is_wanted: Wanted) -> bytes:
        return self._runner.run(self._download(question, is_wanted))

    async def _download(self, question: BatchRequest, is_wanted: Wanted) -> bytes:
        terms = msgspec.msgpack.decode(question.terms, type=Terms)
        staging = terms.staging or self._folder.name
        scratch = terms.scratch or self._folder.name
        settings = scratch, terms.allowed_roots, terms.backoff, terms.workers
        fetcher = await self._fetcher(settings)
        pulse = Pulse()
        context = DownloadContext(
            fetcher=WatchedFetcher(fetcher, pulse),
            hasher=InlineHasher(),
            digest_policy=DigestPolicy(terms.allowed_digests),
            budget=Budget().account(),
            single_flight=self._single_flight,
            cooling=self._cooling,
            on_error=terms.on_error,
            staging=staging,
        )
        sends_bodies = terms.staging is None
        codec = WorkerDeclarationCodec(staging, fetcher, sends_bodies=sends_bodies)
        stage = HastyDownloader(CONCURRENT_CONTENT, pulse)
        return await answer(question, is_wanted, codec, [stage], context)

    @cached_property
    def _folder(self) -> "tempfile.TemporaryDirectory[str]":
        """A folder for a worker that has none in common with the pipeline."""
        return tempfile.TemporaryDirectory(prefix="flowsync-worker-")

    async def _fetcher(self, settings: _Settings) -> Fetcher:
        """Return the fetcher of the engine with these settings; a process serves one engine."""
        # Connections that upstream closed while no loop ran are noticed in the first turn.
        await asyncio.sleep(0)
        if settings not in self._fetchers:
            scratch, allowed_roots, backoff, share = settings
            roots = None if allowed_roots is None else [Path(root) for root in allowed_roots]
            self._fetchers[settings] = await self._opened.enter_async_context(
                open_fetcher(scratch, roots, backoff=backoff, share=share)
            )
        return self._fetchers[settings]
