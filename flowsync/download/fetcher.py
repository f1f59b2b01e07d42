"""The fetcher of an engine: every scheme's origin, tried again where that helps, and bodies as
verified files.

Layers, from the outside: `download` (a file, its digests checked) > `retry.stream` (tries, waits,
goes on) > an origin (one try) > pace per host.

Decisions: docs/decisions/0012.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from os import PathLike, fspath
from pathlib import Path
from typing import Final

import msgspec

from flowsync.download import retry
from flowsync.download.http.lazy_origin import defer_http
from flowsync.download.local_files import FileOrigin
from flowsync.download.pacing.host_limits import HostLimits, Traffic
from flowsync.download.retry import Backoff
from flowsync.download.transfer.attempt import Origin
from flowsync.download.transfer.spool import Spool
from flowsync.errors import (
    DigestMismatchError,
    EngineClosedError,
    FetcherClosedError,
    ForbiddenPathError,
    UnsupportedUrlError,
)
from flowsync.model.fetch import Fetched, Received, Sink
from flowsync.model.remote import FetchRequest
from flowsync.model.url import redact, scheme
from flowsync.runtime.visits import Visits

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
    upstream may ask everybody to wait. `share` is the number of processes that divide what an
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
            return await retry.stream(origin, request, sink, self._backoff)

    async def download(self, request: FetchRequest) -> Fetched:
        """Bring a body into a file of its own, verified. Raise what `stream` raises, and
        `DigestMismatchError`.
        """
        if _gains_by_compression(request):
            request = msgspec.structs.replace(request, compressed=True)
        spool = _VerifiedSpool(request, request.folder or self._scratch_folder)
        try:
            received = await self.stream(request, spool)
        except BaseException:
            await spool.discard()
            raise
        return Fetched(
            url=received.url,
            path=spool.path,
            size=received.size,
            digests=spool.digests,
            headers=received.headers,
            validators=received.validators,
            not_modified=received.not_modified,
        )


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
