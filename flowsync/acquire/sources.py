"""Where bytes can be had, and in which order to ask. Pure: the time is given.

1. Sources are given by priority. One that failed lately comes last, but it is asked before the
   bytes are given up.
2. A remote that cannot be reached, or does not answer in time, fails for all its bytes. A URL that
   gave wrong bytes fails for those who expect of it what it broke: that size, or that digest.
3. What is learned is known to all that share a `Cooling`: syncs, servers and repairs of an engine.
   The first success ends it.

Decided: a remote that fails again after its time is left alone twice as long, up to an hour. Each
time costs every content that is under way a wait for the time-out.

Also here: the ports that bring bytes, and the sink in which a body is verified. The loop in
`acquire.py` uses all three and nothing else does.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from flowsync.acquire.single_flight import SingleFlight
from flowsync.digest.hashing import complete, digest_bytes, verify
from flowsync.download.transfer.spool import Spool, SpoolFile, fresh_path
from flowsync.errors import (
    DigestMismatchError,
    FlowsyncError,
    IntegrityError,
    SizeMismatchError,
    TransferTimeoutError,
    UnreachableError,
)
from flowsync.model.artifact import Artifact, DigestPolicy, StagedArtifact, staged_artifact
from flowsync.model.remote import COOL_DOWN, Fetcher, Held, Remote, Sink
from flowsync.model.url import redact
from flowsync.runtime.tasks import in_thread
from flowsync.store.durability import flush_ahead
from flowsync.store.staging import Partial

REMEMBERED: Final = 10_000
"""Broken expectations that are remembered, the newest."""

_LONGEST: Final = 3600.0
_AWAY: Final = (UnreachableError, TransferTimeoutError)
"""What costs a wait with each request."""

_Expectation: TypeAlias = tuple[str, str, str | int]
"""A URL, what is expected of its bytes ("size" or an algorithm), and the value of that."""


class ByteSource(msgspec.Struct, frozen=True):
    """URLs of one remote that offer the bytes of an artifact, and the headers to ask with.

    `wanted` is what this source declares of the bytes, where it is not what all of them do.
    `refused` says why it cannot be asked at all.
    """

    remote: Remote | None
    urls: Sequence[str]
    headers: Mapping[str, str] = {}
    wanted: Artifact | None = None
    refused: FlowsyncError | None = None


class Cooling:
    """What was learned of sources that failed. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._unreachable: dict[str, _Rest] = {}
        self._broken: dict[_Expectation, float] = {}

    def in_order(
        self, sources: Sequence[ByteSource], wanted: Artifact, now: float
    ) -> Sequence[ByteSource]:
        """Return the sources in the order in which to ask them for what is wanted."""
        if len(sources) == 1 or not (self._unreachable or self._broken):
            return sources
        return sorted(sources, key=lambda source: self._cools(source, wanted, now))

    def failed(self, source: ByteSource, url: str, error: Exception, now: float) -> None:
        """Learn from a URL of the source that failed."""
        if isinstance(error, _AWAY) and source.remote is not None:
            known = self._unreachable.get(source.remote.name)
            if known is None or known.until <= now:
                length = COOL_DOWN if known is None else min(known.length * 2, _LONGEST)
                self._unreachable[source.remote.name] = _Rest(now + length, length)
        elif isinstance(error, DigestMismatchError):
            self._break((url, error.algorithm, error.expected), now)
        elif isinstance(error, SizeMismatchError):
            self._break((url, "size", error.expected), now)

    def worked(self, source: ByteSource, url: str, wanted: Artifact) -> None:
        """Learn that the URL gave what was wanted."""
        if self._unreachable and source.remote is not None:
            self._unreachable.pop(source.remote.name, None)
        if self._broken:
            for expectation in _expectations(url, wanted):
                self._broken.pop(expectation, None)

    def gave_wrong_bytes(
        self, urls: Sequence[str], wanted: Artifact, now: float, within: float = COOL_DOWN
    ) -> bool:
        """Say whether each of the URLs gave something else than what is wanted, within so many
        seconds.
        """
        if not self._broken or not urls:
            return False
        return all(
            any(
                now - self._broken[expectation] < within
                for expectation in _expectations(url, wanted)
                if expectation in self._broken
            )
            for url in urls
        )

    def _break(self, expectation: _Expectation, now: float) -> None:
        # Put in anew: the first of them is the oldest.
        self._broken.pop(expectation, None)
        self._broken[expectation] = now
        if len(self._broken) > REMEMBERED:
            del self._broken[next(iter(self._broken))]

    def _cools(self, source: ByteSource, wanted: Artifact, now: float) -> bool:
        if source.remote is not None:
            resting = self._unreachable.get(source.remote.name)
            if resting is not None and now < resting.until:
                return True
        return self.gave_wrong_bytes(source.urls, source.wanted or wanted, now)


def _expectations(url: str, wanted: Artifact) -> Iterator[_Expectation]:
    if wanted.size is not None:
        yield url, "size", wanted.size
    for algorithm, value in wanted.digests().items():
        yield url, algorithm, value


class _Rest(msgspec.Struct, frozen=True):
    """Until when a remote is the last resort, and for how many seconds that is."""

    until: float
    length: float


# What it takes to bring bytes: the ports of an engine, and the folder that the bytes go to.


class Digester(Protocol):
    """Computes digests of files: a `Hasher`, or an `InlineHasher` where there is no crew."""

    @property
    def inline_limit(self) -> int:
        """Bytes up to which a body is better hashed by the task that holds it."""

    async def digest(
        self, path: str, algorithms: frozenset[str], *, size: int | None = None
    ) -> tuple[int, dict[str, str]]:
        """Return the size in bytes and the digests of a file, as `Hasher.digest` does."""


class AcquireContext(Protocol):
    """What `acquire` needs. A run has it, in its own process (`RunContext`) and in a worker
    (`DownloadContext`); all others ask their engine for one.

    `staging` is a staging folder of the store.
    """

    @property
    def fetcher(self) -> Fetcher: ...
    @property
    def hasher(self) -> Digester: ...
    @property
    def digest_policy(self) -> DigestPolicy: ...
    @property
    def single_flight(self) -> SingleFlight: ...
    @property
    def cooling(self) -> Cooling: ...
    @property
    def staging(self) -> str: ...


class AcquirePorts(msgspec.Struct, frozen=True, kw_only=True):
    """An `AcquireContext` for those who need nothing else of an engine."""

    fetcher: Fetcher
    hasher: Digester
    digest_policy: DigestPolicy
    single_flight: SingleFlight
    cooling: Cooling
    staging: str


# Where the body of an artifact arrives: spooled, hashed, compared with what was declared.
#
# The digests are checked in `finish`, which the fetcher calls while it can still try again: a wrong
# body is a failed try like a broken one. Bodies up to the hasher's inline limit stay in memory and
# are hashed at once; larger ones go to a file. What threads bring past the loop they hash on the
# way and hand on to the disk; other files are hashed by path in another process when they are
# whole.
#
# With a partial the file is that one, and what another transfer left in it is where this one goes
# on, if it asks the same URL. Other bytes stay until a body begins to arrive in their place. A
# wrong body is thrown away at once, so that no transfer ever goes on from it.
#
# The reasons stand in docs/decisions/0014.


class ByteSink(Sink, Protocol):
    """A sink that verifies what it takes. `finish` raises `SizeMismatchError` or
    `DigestMismatchError` for a wrong body.
    """

    @property
    def staged(self) -> StagedArtifact:
        """The verified artifact, after `finish` or `finish_whole`. Raise `IntegrityError` for wrong
        bytes that `finish` let pass.
        """

    async def finish_whole(self) -> None:
        """Do with the partial, which is whole, what `finish` does with a body that came."""

    async def leave(self) -> None:
        """End without the body. What a partial has of it is for others to go on from, all else is
        removed.
        """


class VerifiedSink(Spool):
    """The sink of one body, which is to have the size and the digests that `wanted` declares;
    `expected` are those digests that may vouch for it. After `finish`, `staged` is the verified
    artifact; without it, `leave` is due.
    """

    def __init__(
        self,
        context: AcquireContext,
        url: str,
        wanted: Artifact,
        expected: Mapping[str, str],
        partial: Partial | None = None,
    ) -> None:
        super().__init__(context.staging, context.hasher.inline_limit if partial is None else 0)
        self._url = url
        self._shown = redact(url)
        self._wanted = wanted
        self._expected = expected
        self._hasher = context.hasher
        self._partial = partial
        self._validator: str | None = None
        self.staged: StagedArtifact
        if partial is not None and (validator := partial.validator_for(url)) is not None:
            self.size = partial.size
            self.held = Held(partial.size, validator)

    def begin(self, validator: str | None) -> None:
        self._validator = validator

    async def restart(self) -> None:
        await super().restart()
        if self._partial is not None and self.held is not None:
            self.held = None
            await in_thread(self._partial.empty)

    async def finish(self) -> None:
        """Compute the digests and compare them. Raise `SizeMismatchError` or
        `DigestMismatchError`.
        """
        await super().finish()
        await self._stage()

    async def finish_whole(self) -> None:
        assert self._partial is not None
        self.path, self.size = self._partial.path, self._partial.size
        await self._stage()

    async def leave(self) -> None:
        if self._partial is None:
            await self.discard()
        else:
            await self.keep()
            await in_thread(self._partial.look)

    def _new_file(self, *, poured: bool) -> SpoolFile:
        partial, url, validator = self._partial, self._url, self._validator
        if partial is not None and self.held is not None:
            return SpoolFile(partial.path, (), opening=partial.resume, size=self.held.size)
        return SpoolFile(
            fresh_path(self._folder) if partial is None else partial.path,
            complete(self._expected) if poured else (),
            opening=None if partial is None else lambda: partial.begin(url, validator),
            behind=flush_ahead,
        )

    async def _stage(self) -> None:
        try:
            digests = await self._verified()
        except IntegrityError:
            if self._partial is not None:
                await in_thread(self._partial.empty)
            raise
        if self._partial is not None:
            self.path = await in_thread(self._partial.move, self._folder)
        self.staged = staged_artifact(self.size, digests, file=self.path, body=self.body)

    async def _verified(self) -> dict[str, str]:
        if self.path is not None and not self.digests:
            return await verified_file(
                self._hasher, self.path, self.size, self._wanted, self._expected, self._shown
            )
        _check_size(self._shown, self._wanted, self.size)
        digests = self.digests or digest_bytes(self.body or b"", self._expected)
        verify(self._shown, self._expected, digests)
        return digests


async def verified_file(
    hasher: Digester,
    path: str,
    size: int,
    wanted: Artifact,
    expected: Mapping[str, str],
    shown: str,
) -> dict[str, str]:
    """Return the digests of a file of `size` bytes that came from what errors call `shown`. Raise
    `SizeMismatchError` or `DigestMismatchError` when it is not what is wanted.
    """
    _check_size(shown, wanted, size)
    _, digests = await hasher.digest(path, frozenset(expected), size=size)
    verify(shown, expected, digests)
    return digests


def _check_size(shown: str, wanted: Artifact, size: int) -> None:
    if wanted.size is not None and size != wanted.size:
        raise SizeMismatchError(shown, wanted.size, size)
