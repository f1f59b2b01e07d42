"""Where bytes can be had, and in which order to ask. Pure: the time is given.

1. Sources are given by priority. One that failed lately comes last, but it is asked before the
   bytes are given up.
2. A remote that cannot be reached, or does not answer in time, fails for all its bytes. A URL that
   gave wrong bytes fails for those who expect of it what it broke: that size, or that digest.
3. What is learned is known to all that share a `Cooling`: syncs, servers and repairs of an engine.
   The first success ends it.

Decided: a remote that fails again after its time is left alone twice as long, up to an hour. Each
time costs every content that is under way a wait for the time-out.

What it takes to bring bytes: the ports of an engine, and the folder that the bytes go to.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from flowsync.acquire.single_flight import SingleFlight
from flowsync.errors import (
    DigestMismatchError,
    FlowsyncError,
    SizeMismatchError,
    TransferTimeoutError,
    UnreachableError,
)
from flowsync.model.artifact import Artifact, DigestPolicy
from flowsync.model.remote import COOL_DOWN, Fetcher, Remote

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
