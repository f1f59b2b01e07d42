"""What runs in a download worker: batches of declared content, downloaded and verified, one batch
after the other.

1. A process has one event loop and one fetcher, made with the first batch and kept: connections
   stay open from batch to batch. The kernel closes them when the process is ended.
2. Files are hashed in a thread here, by no further process, and lie below the staging folder of the
   run that sent the batch.
3. The stage is that of the pipeline, in a hurry (`flowsync.stages.remote.impatient_downloader`);
   what it needs of a run is in `DownloadContext`.

Decided: what a process keeps is behind a cached function, because nothing but the module is there
to hold it between two calls of a plain function.
"""

import asyncio
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from flowsync.acquire.single_flight import SingleFlight
from flowsync.acquire.sources import Cooling
from flowsync.digest.inline import InlineHasher
from flowsync.download.fetcher import open_fetcher
from flowsync.download.retry import Backoff
from flowsync.model.digest import DigestPolicy
from flowsync.model.remote import Fetcher
from flowsync.model.repository import ErrorPolicy
from flowsync.pipeline.budget import Account, Budget
from flowsync.pipeline.remote.protocol import BatchRequest
from flowsync.pipeline.remote.segment_worker import answer
from flowsync.stages.remote.codecs import WorkerDeclarationCodec
from flowsync.stages.remote.impatient_downloader import HastyDownloader, Pulse, WatchedFetcher

CONCURRENT_CONTENT: Final = 200
"""Contents of a batch that are handled at a time: all of them."""


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """What a run tells its workers: where bytes are staged, and its policies; and what its engine
    allows, with how many workers.
    """

    staging: str
    allowed_digests: frozenset[str]
    on_error: ErrorPolicy
    scratch: str
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


def download_batch(question: bytes) -> bytes:
    """Answer an encoded `BatchRequest` whose terms are `Terms` and whose body is that of a
    `DeclarationCodec`.
    """
    return _place().download(msgspec.msgpack.decode(question, type=BatchRequest))


def warm_up() -> None:
    """Make the process ready for its first batch."""
    _place()


@cache
def _place() -> "_Place":
    return _Place()


class _Place:
    """What one process keeps between batches."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._opened = AsyncExitStack()
        self._fetchers: dict[_Settings, Fetcher] = {}
        self._single_flight = SingleFlight()
        self._cooling = Cooling()

    def download(self, question: BatchRequest) -> bytes:
        return self._runner.run(self._download(question))

    async def _download(self, question: BatchRequest) -> bytes:
        terms = msgspec.msgpack.decode(question.terms, type=Terms)
        settings = terms.scratch, terms.allowed_roots, terms.backoff, terms.workers
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
            staging=terms.staging,
        )
        codec = WorkerDeclarationCodec(terms.staging, fetcher)
        stage = HastyDownloader(CONCURRENT_CONTENT, pulse)
        return await answer(question, codec, [stage], context)

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
