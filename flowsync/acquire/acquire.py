"""The one way in which verified bytes come from their sources.

1. Bytes that another task of the engine is fetching, or has just got, are shared and not fetched
   (`single_flight`).
2. Where an earlier transfer left its bytes, this one goes on from them (`resumable`).
3. Sources are asked in turn, each with its own remote and headers. Those that failed lately come
   last (`sources`).
4. A body counts when its size and all its digests that may vouch for it are those declared
   (`sources.py`). Where digests are declared and none of them may vouch, nothing is asked for.
5. All requests are made in one function, `Acquisition._ask`.

Also here: which artifacts have a partial that a later run goes on from.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Final, TypeAlias

import msgspec

from flowsync.acquire.single_flight import Key, Shared
from flowsync.acquire.sources import AcquireContext, ByteSink, ByteSource, VerifiedSink
from flowsync.errors import (
    AllSourcesFailedError,
    DeclarationError,
    FlowsyncError,
    IntegrityError,
    TransferError,
)
from flowsync.model.artifact import Artifact, DigestPolicy, StagedArtifact
from flowsync.model.remote import FetchRequest
from flowsync.runtime.tasks import in_thread
from flowsync.store.staging import Partial, claimed

# Which artifacts have a partial, and for how long one acquisition holds it.
#
# 1. A partial belongs to an artifact with a digest that the policy allows, which tells whether its
#    bytes are right wherever they came from, and with a size of at least `KEPT_FROM`.
# 2. It is held for all tries of the artifact, from whatever URL, and given back when the artifact
#    is staged or has failed.
# 3. Smaller bodies pay nothing: no file is looked for, no lock taken.
#
# The reasons stand in docs/decisions/0014.

KEPT_FROM: Final = 8 << 20
"""Bytes from which a body outlives its run."""


def has_partial(artifact: Artifact) -> bool:
    """Say whether what comes of the artifact is kept, if it has a digest that may vouch for it."""
    return artifact.size is not None and artifact.size >= KEPT_FROM


@asynccontextmanager
async def resumable(staging: str, digest: Key, size: int) -> AsyncIterator[Partial | None]:
    """Hold the partial of the bytes with that digest for the block; give `None` while another has
    it, in this process or elsewhere.
    """
    held = ExitStack()
    try:
        yield await in_thread(held.enter_context, claimed(staging, "-".join(digest), size))
    finally:
        await in_thread(held.close)


NewSink: TypeAlias = Callable[
    [AcquireContext, str, Artifact, Mapping[str, str], Partial | None], ByteSink
]
"""Makes the sink for the body of a URL: what is wanted, the digests that may vouch for it, and the
partial to go on from.
"""

Failed: TypeAlias = Callable[[ByteSource, Exception], Awaitable[None]]
"""Is told of each URL of a source that failed, and of a source that was refused."""


class Reception(msgspec.Struct, frozen=True, kw_only=True):
    """How bytes are received.

    `new_sink` makes the sinks. `failed` is told of failures at once. Other tasks are followed for
    `patience` seconds at most. `staged_only` is for bytes that are recorded and not to be had from
    the store. `keeps` says whether a body that does not come to its end is kept for the next one.
    """

    new_sink: NewSink = VerifiedSink
    failed: Failed | None = None
    patience: float | None = None
    staged_only: bool = False
    keeps: bool = True


STAGED: Final = Reception()
"""Small bodies in memory, others in files of the staging folder."""


class Acquisition:
    """The bytes of one artifact, and what it takes to bring them.

    `sources` are given by priority. `name` is what errors call the artifact. `count` is told the
    bytes that came, unless they were shared.
    """

    __slots__ = (
        "_context",
        "_count",
        "_digest",
        "_expected",
        "_name",
        "_reception",
        "_sources",
        "_wanted",
    )

    def __init__(
        self,
        context: AcquireContext,
        name: str,
        wanted: Artifact,
        sources: Sequence[ByteSource],
        reception: Reception = STAGED,
        count: Callable[[int], object] | None = None,
    ) -> None:
        """Raise `UnsupportedDigestError` when none of the declared digests is allowed."""
        self._context = context
        self._name = name
        self._wanted = wanted
        self._expected = expected_digests(name, wanted, context.digest_policy)
        self._digest = next(iter(self._expected.items()), None)
        self._sources = sources
        self._reception = reception
        self._count = count

    async def bring(self) -> Shared:
        """Return the bytes, verified: shared with the task that brings them already, or from the
        sources.

        Raise `TransferError`, `IntegrityError`, `DeclarationError`, or what a source was `refused`
        with, when a single source failed; `AllSourcesFailedError` when several did.
        """
        if self._digest is None:
            return await self.fetch()
        reception = self._reception
        return await self._context.single_flight.bring(
            self._digest,
            self._wanted,
            self._context.staging,
            self.fetch,
            patience=reception.patience,
            staged_only=reception.staged_only,
        )

    async def fetch(self) -> StagedArtifact:
        """Bring the bytes from the sources in any case. Raise what `bring` raises."""
        if self._digest is not None and self._reception.keeps and has_partial(self._wanted):
            staged = await self._resume(self._digest)
        else:
            staged = await self._ask_all(None)
        if self._count is not None:
            self._count(staged.size or 0)
        return staged

    async def _resume(self, digest: Key) -> StagedArtifact:
        wanted, expected = self._wanted, self._expected
        async with resumable(self._context.staging, digest, wanted.size or 0) as partial:
            if partial is not None and partial.is_whole:
                sink = self._reception.new_sink(
                    self._context, partial.path, wanted, expected, partial
                )
                # What is wrong with it is no source's fault any more: it is thrown away, and the
                # body fetched.
                with suppress(IntegrityError):
                    await sink.finish_whole()
                    return sink.staged
            return await self._ask_all(partial)

    async def _ask_all(self, partial: Partial | None) -> StagedArtifact:
        cooling = self._context.cooling
        failures: list[Exception] = []
        sources = self._sources
        if len(sources) > 1:
            sources = cooling.in_order(sources, self._wanted, time.monotonic())
        for source in sources:
            if source.refused is not None:
                failures.append(source.refused)
                await self._tell(source, source.refused)
                continue
            for url in source.urls:
                try:
                    staged = await self._ask(source, url, partial)
                except (TransferError, IntegrityError, DeclarationError) as error:
                    failures.append(error)
                    cooling.failed(source, url, error, time.monotonic())
                    await self._tell(source, error)
                else:
                    cooling.worked(source, url, source.wanted or self._wanted)
                    return staged
        if len(failures) == 1:
            raise failures[0]
        raise AllSourcesFailedError(self._name, failures)

    async def _tell(self, source: ByteSource, error: FlowsyncError) -> None:
        if self._reception.failed is not None:
            await self._reception.failed(source, error)

    async def _ask(self, source: ByteSource, url: str, partial: Partial | None) -> StagedArtifact:
        if source.remote is None:
            raise DeclarationError(f"{self._name}: no remote to fetch it with")
        wanted, expected = self._wanted, self._expected
        if source.wanted is not None:
            wanted = source.wanted
            expected = expected_digests(self._name, wanted, self._context.digest_policy)
            if self._digest is None or self._digest not in expected.items():
                # It may have other bytes than those that the partial is of.
                partial = None
        request = FetchRequest(
            url=url, remote=source.remote, size=wanted.size, headers=source.headers
        )
        sink = self._reception.new_sink(self._context, url, wanted, expected, partial)
        try:
            await self._context.fetcher.stream(request, sink)
            return sink.staged
        except BaseException:
            await sink.leave()
            raise


def expected_digests(name: str, wanted: Artifact, policy: DigestPolicy) -> Mapping[str, str]:
    """Return those of the declared digests that may vouch for the bytes, strongest first. Raise
    `UnsupportedDigestError` when there are others only.
    """
    declared = wanted.digests()
    allowed = policy.allowed
    expected = {algorithm: value for algorithm, value in declared.items() if algorithm in allowed}
    if declared and not expected:
        policy.check_expected(name, declared)
    return expected
