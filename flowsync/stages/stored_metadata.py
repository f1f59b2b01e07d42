"""Metadata that upstream's own index names by digest: taken from the store if it is there, and
fetched otherwise.
"""

from collections.abc import Mapping
from typing import Any, BinaryIO, Protocol

from flowsync.catalog.catalog import Catalog
from flowsync.digest.hashing import digest_file
from flowsync.download.transfer.spool import fresh_path
from flowsync.errors import DeclarationError, StoreError
from flowsync.model.artifact import Artifact, DigestPolicy, StoredArtifact
from flowsync.model.fetch import Fetched, Validators
from flowsync.model.remote import Remote
from flowsync.model.url import redact
from flowsync.runtime.threads import in_thread

_PIECE = 1 << 20


class MetadataContext(Protocol):
    """What this needs of a run: a `RunContext`."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def digest_policy(self) -> DigestPolicy: ...
    @property
    def staging(self) -> str: ...


async def metadata(
    context: MetadataContext, remote: Remote, url: str, expected: Mapping[str, str], request: Any
) -> Fetched:
    """Return a body with the `expected` digests as a file of the run; see `RunContext.metadata`."""
    allowed = context.digest_policy.allowed
    if any(name in allowed for name in expected):
        wanted = Artifact(size=request.get("size"), **expected)
        (stored,) = await context.catalog.artifacts.find([wanted], allowed)
        found = None if stored is None else await _copied(context, stored, expected)
        if found is not None:
            path, size, digests = found
            return Fetched(
                url=redact(url),
                path=path,
                size=size,
                digests={name: digests[name] for name in {"sha256", *expected}},
                headers={},
                validators=Validators(),
            )
    downloader = remote.get_downloader(
        url=url, **{"folder": context.staging, **request, "expected": expected}
    )
    return await downloader.run()


async def _copied(
    context: MetadataContext, stored: StoredArtifact, expected: Mapping[str, str]
) -> tuple[str, int, dict[str, str]] | None:
    """Return a copy of stored bytes with size and digests, or `None` when they cannot be had or are
    not what they should be.
    """
    path = fresh_path(context.staging)
    try:
        size, digests = await in_thread(_copy, stored, path, frozenset(expected))
    except (StoreError, DeclarationError):
        # Lost, damaged, or in a store without local files.
        return None
    right = all(digests[name] == value for name, value in expected.items())
    return (path, size, digests) if right else None


def _copy(
    stored: StoredArtifact, path: str, algorithms: frozenset[str]
) -> tuple[int, dict[str, str]]:
    with stored.open() as source, open(path, "wb") as target:
        _pour(source, target, stored)
    return digest_file(path, algorithms)


def _pour(source: BinaryIO, target: BinaryIO, stored: StoredArtifact) -> None:
    while True:
        try:
            piece = source.read(_PIECE)
        except OSError as error:
            raise StoreError(f"cannot read artifact {stored.id}: {error.strerror}") from error
        if not piece:
            return
        target.write(piece)
