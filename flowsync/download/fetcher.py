"""The fetcher of an engine: every scheme's origin, tried again where that helps, and bodies as
verified files.

Layers, from the outside: `download` (a file, its digests checked) > `fetcher.stream` (tries, waits,
goes on) > an origin (one try) > pace per host.

Decisions: docs/decisions/0012.

Also here: the HTTP origin, opened when it is first asked for, and when a failed try is worth
another. They are one transfer, from the outside to the try.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flowsync.download.local_files import FileOrigin
from flowsync.download.pacing.host_limits import HostLimits, Traffic
from flowsync.download.transfer.attempt import Origin, Tally
from flowsync.download.transfer.spool import Spool
from flowsync.errors import (
    BrokenBodyError,
    CertificateError,
    DeclarationError,
    DigestMismatchError,
    EngineClosedError,
    FetcherClosedError,
    ForbiddenPathError,
    IntegrityError,
    RefusedAnswerError,
    SizeMismatchError,
    StatusError,
    TransferError,
    TransferTimeoutError,
    UnreachableError,
    UnsupportedUrlError,
)
from flowsync.model.measures import problem_with_measure
from flowsync.model.remote import Fetched, FetchRequest, Fill, Held, Received, Sink
from flowsync.model.url import redact, scheme
from flowsync.runtime.tasks import Visits

if TYPE_CHECKING:
    from flowsync.download.http.origin import HttpOrigin


# The HTTP origin, opened by the first request that needs it.
#
# The reasons stand in docs/decisions/0011.


@asynccontextmanager
async def defer_http(product: str, limits: HostLimits) -> AsyncIterator["DeferredHttpOrigin"]:
    """Give an origin for as long as the block runs. `product` is name and version for the
    `User-Agent`.
    """
    async with AsyncExitStack() as opened:
        yield DeferredHttpOrigin(product, limits, opened)


class DeferredHttpOrigin:
    """Brings bodies over http and https. Made by `defer_http`, whose block closes what this
    opens.
    """

    steady: Final = False

    def __init__(self, product: str, limits: HostLimits, opened: AsyncExitStack) -> None:
        self._product = product
        self._limits = limits
        self._opened = opened
        self._opening = asyncio.Lock()
        self._origin: HttpOrigin | None = None

    def attempt(
        self, request: FetchRequest, sink: Sink, tally: Tally
    ) -> Coroutine[Any, Any, Received]:
        """Make one try; see `HttpOrigin.attempt`."""
        if self._origin is not None:
            return self._origin.attempt(request, sink, tally)
        return self._first_attempt(request, sink, tally)

    async def _first_attempt(self, request: FetchRequest, sink: Sink, tally: Tally) -> Received:
        origin = await self._open()
        return await origin.attempt(request, sink, tally)

    async def _open(self) -> "HttpOrigin":
        async with self._opening:
            if self._origin is not None:
                return self._origin
            client = await asyncio.to_thread(import_module, "flowsync.download.http.origin")
            opening = client.open_http(self._product, self._limits)
            opened: HttpOrigin = await self._opened.enter_async_context(opening)
            self._origin = opened
            return opened


# When a failed try is worth another one, and how long to wait before it.
#
# 1. Tries again: 408, 429 and 5xx (but for those that say "never"), no connection, a broken body, a
#    time-out, a wrong size, a wrong digest. Everything else gives up at once: other statuses, a
#    certificate that does not hold, a refused redirect, an answer that is refused for what it is, a
#    body over the caller's limit, a file that is not there, a sink that fails; and a wrong size or
#    digest where the origin is steady.
# 2. Waits a random time between nothing and a bound that doubles with every failure up to a cap
#    ("full jitter"), so that a thousand waiting requests do not come back at once. What
#    `Retry-After` asks for comes on top, up to the caller's patience, so no try comes before
#    the pause that it means for all requests to that upstream (`gate`) is over.
# 3. Goes on inside the body where that is possible, otherwise begins again with an empty sink. A
#    body that was whole and wrong is never continued.
# 4. A try that went on from bytes of an earlier transfer and made them useless (upstream has other
#    ones, or they are wrong) is followed by another one at once and counts for nothing: neither
#    upstream nor the caller's patience is to blame.
# 5. Holds no connection and no slot while it waits.

_BUSY: Final = frozenset({408, 429})
_NEVER: Final = frozenset({501, 505, 510})
"""Not implemented, not this version of HTTP, not without an extension: what no later request of the
same kind changes.
"""

_PASSING: Final = (
    UnreachableError,
    BrokenBodyError,
    TransferTimeoutError,
    SizeMismatchError,
    DigestMismatchError,
)


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait between tries, in seconds.

    The first wait is at most `base`, each further one at most double, never more than `cap`.
    `patience` bounds what `Retry-After` is granted.
    """

    base: float = 1.0
    cap: float = 60.0
    patience: float = 300.0

    def __post_init__(self) -> None:
        for wait in (self.base, self.cap, self.patience):
            if problem_with_measure(wait, "seconds", zero=True) is not None:
                raise DeclarationError(
                    "waits between tries are finite numbers of seconds and cannot be negative, "
                    f"found {self!r}"
                )

    def wait(self, failures: int, asked: float | None) -> float:
        """Return how long to wait after so many failures (from 1), when upstream asked for `asked`
        seconds or for nothing.
        """
        jitter = random.uniform(0, min(self.cap, self.base * 2.0 ** min(failures - 1, 64)))  # noqa: S311 -- no secret
        return jitter + min(asked or 0.0, self.patience)


async def stream(origin: Origin, request: FetchRequest, sink: Sink, backoff: Backoff) -> Received:
    """Bring a body from `origin` into `sink` and finish it, in at most `request.remote.max_retries`
    tries after the first.

    Raise the error of the last try, with a note of how many there were.
    """
    tally = Tally(request, sink.held)
    failures = 0
    while True:
        try:
            received = await origin.attempt(request, sink, tally)
            if not received.not_modified:
                await sink.finish()
            return received
        except (TransferError, IntegrityError) as error:
            void = isinstance(error, IntegrityError) or not tally.resumable
            pause = 0.0
            if not (void and tally.inherited):
                failures += 1
                _check_hope(error, failures, origin, request)
                asked = error.retry_after if isinstance(error, StatusError) else None
                pause = backoff.wait(failures, asked)
        if void:
            await sink.restart()
            tally.reset()
        await asyncio.sleep(pause)


def _check_hope(
    error: TransferError | IntegrityError, failures: int, origin: Origin, request: FetchRequest
) -> None:
    """Raise the error when it is not worth another try, or the tries are used up."""
    if not _passing(error) or (isinstance(error, IntegrityError) and origin.steady):
        raise error
    if failures > request.remote.max_retries:
        if failures > 1:
            error.add_note(f"after {failures} tries")
        raise error


def _passing(error: TransferError | IntegrityError) -> bool:
    """Say whether the same request may well succeed later."""
    if isinstance(error, StatusError):
        return error.status in _BUSY or (error.status >= 500 and error.status not in _NEVER)
    if isinstance(error, CertificateError | RefusedAnswerError):
        return False
    return isinstance(error, _PASSING)


_COMPRESSED: Final = (".gz", ".tgz", ".xz", ".bz2", ".zst", ".br", ".lz", ".lzma", ".zip")


@asynccontextmanager
async def open_fetcher(
    scratch_folder: str | PathLike[str],
    allowed_roots: Sequence[Path] | None = None,
    *,
    user_agent: str | None = None,
    backoff: Backoff | None = None,
    share: int = 1,
) -> AsyncIterator["UrlFetcher"]:
    """Open a fetcher for http, https and file URLs for as long as the block runs.

    `scratch_folder` exists and takes the files of `download`. `allowed_roots` bounds `file://`
    URLs; `None` allows what the process can read. `user_agent` is a product with its version;
    without it, flowsync's own. `backoff` sets the waits between tries, and its patience how long an
    upstream may ask all to wait. `share` is the number of processes that divide what an
    upstream takes.
    """
    backoff = backoff or Backoff()
    limits = HostLimits(backoff.patience, share)
    async with defer_http(user_agent or _product(), limits) as http:
        file = FileOrigin(allowed_roots)
        origins: dict[str, Origin] = {"http": http, "https": http, "file": file}
        fetcher = UrlFetcher(origins, fspath(scratch_folder), backoff, limits)
        try:
            yield fetcher
        finally:
            await fetcher.close()


class UrlFetcher:
    """A `Fetcher` that picks the origin by the URL's scheme. Made by `open_fetcher`."""

    def __init__(
        self,
        origins: Mapping[str, Origin],
        scratch_folder: str,
        backoff: Backoff,
        limits: HostLimits,
    ) -> None:
        self._origins = origins
        self._scratch_folder = scratch_folder
        self._backoff = backoff
        self._limits = limits
        self._visits = Visits(lambda: EngineClosedError("what fetches for the engine was closed"))

    @property
    def closed(self) -> bool:
        return self._visits.closed

    async def close(self) -> None:
        """Fetch nothing any more; what is being fetched ends with an `EngineClosedError`."""
        await self._visits.close()

    def traffic(self) -> dict[str, Traffic]:
        """Return what is under way now, by the names of the remotes."""
        return self._limits.traffic()

    async def stream(self, request: FetchRequest, sink: Sink) -> Received:
        """Bring a body into `sink`.

        Raise `UnsupportedUrlError` for an unknown scheme, `ForbiddenPathError` for a file that a
        remote of another scheme asks for, `EngineClosedError`, and what `Fetcher` says.
        """
        if self.closed:
            raise FetcherClosedError(redact(request.url), "asked of a fetcher that is closed")
        kind = scheme(request.url)
        origin = self._origins.get(kind)
        if origin is None:
            raise _unsupported(request.url, self._origins)
        if kind == "file" and scheme(request.remote.url) != "file":
            # Or metadata from outside could name any file of this machine.
            reason = (
                f"only a remote that is file:// itself reads files, not {request.remote.name!r}"
            )
            raise ForbiddenPathError(redact(request.url), reason)
        with self._visits.visit():
            return await stream(origin, request, sink, self._backoff)

    async def download(self, request: FetchRequest) -> Fetched:
        """Bring a body into a file of its own, verified. Raise what `stream` raises, and
        `DigestMismatchError`.
        """
        if request.method == "HEAD":
            return _fetched(await self.stream(request, _NoBody()))
        if _gains_by_compression(request):
            request = msgspec.structs.replace(request, compressed=True)
        spool = _VerifiedSpool(request, request.folder or self._scratch_folder)
        try:
            received = await self.stream(request, spool)
        except BaseException:
            await spool.discard()
            raise
        return _fetched(received, spool.path, spool.digests)


def _fetched(
    received: Received, path: str | None = None, digests: Mapping[str, str] | None = None
) -> Fetched:
    return Fetched(
        url=received.url,
        path=path,
        size=received.size,
        digests=digests or {},
        headers=received.headers,
        validators=received.validators,
        not_modified=received.not_modified,
    )


class _NoBody:
    """The sink of a request that brings no body."""

    held: Held | None = None

    def begin(self, validator: str | None) -> None:
        """Take no note."""

    async def write(self, chunk: bytes) -> None:
        """Take nothing: nothing comes."""

    def direct(self, size: int) -> Fill | None:
        return None

    async def restart(self) -> None:
        """Forget nothing."""

    async def finish(self) -> None:
        """Be done."""


class _VerifiedSpool(Spool):
    """A file whose digests are those that its request expects."""

    def __init__(self, request: FetchRequest, folder: str) -> None:
        super().__init__(folder, 0, tuple({"sha256", *request.expected}))
        self._request = request

    async def finish(self) -> None:
        """Close the file. Raise `DigestMismatchError` when it holds something else."""
        await super().finish()
        for algorithm, expected in self._request.expected.items():
            found = self.digests[algorithm]
            if found != expected.lower():
                raise DigestMismatchError(redact(self._request.url), algorithm, expected, found)


def _gains_by_compression(request: FetchRequest) -> bool:
    path = request.url.partition("?")[0].lower()
    return not request.expected and request.size is None and not path.endswith(_COMPRESSED)


def _unsupported(url: str, known: Mapping[str, Origin]) -> UnsupportedUrlError:
    listed = ", ".join(sorted(known))
    return UnsupportedUrlError(redact(url), f"scheme {scheme(url)!r} is none of {listed}")


def _product() -> str:
    try:
        return f"flowsync/{version('flowsync')}"
    except PackageNotFoundError:
        # Run from a source tree that was never installed.
        return "flowsync"
