"""What a run gives its stages: the ports, and what the stages of one run share.

Stages take none of this in their constructor; the pipeline binds them before it starts.

Also here: metadata that is taken from the store, and files of stored artifacts.
"""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import msgspec
from msgspec.structs import replace

from flowsync.acquire.single_flight import SingleFlight
from flowsync.acquire.sources import Cooling
from flowsync.catalog.catalog import Catalog
from flowsync.declare import DeclarativeContent
from flowsync.digest.hashing import digest_file
from flowsync.digest.pool import Hasher
from flowsync.download.fetcher import Backoff
from flowsync.download.transfer.spool import fresh_path
from flowsync.errors import DeclarationError, StoreError, TooManyLeftOutError
from flowsync.model.artifact import Artifact, DigestPolicy, StoredArtifact
from flowsync.model.content import Content, id_of_group
from flowsync.model.remote import Fetched, Fetcher, Remote, Validators
from flowsync.model.repository import ErrorPolicy, LeftOut
from flowsync.model.url import redact
from flowsync.pipeline.budget import Account
from flowsync.pipeline.stage import Stage
from flowsync.runtime.executor import Executor
from flowsync.runtime.tasks import in_thread
from flowsync.stages.admission import check_declared
from flowsync.stages.upstream import UpstreamMemory
from flowsync.store.port import BlobStore
from flowsync.store.staging import bring, has_local_files

# Metadata that upstream's own index names by digest: taken from the store if it is there, and
# fetched otherwise.

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


KeepGroups = Callable[[Sequence[bytes]], Awaitable[set[bytes]]]
"""Keeps the units of groups in the version to come, by the ids of the groups; returns those groups
of which there are any.
"""


class DownloadWorkers(msgspec.Struct, frozen=True, kw_only=True):
    """The download workers of an engine, and what they need to know of it: a folder for metadata,
    where `file://` URLs may lead, and how long failed requests wait.
    """

    executor: Executor
    scratch: str
    allowed_roots: tuple[str, ...] | None
    backoff: Backoff


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """The ports of one run. `staging` is the run's private folder, on the file system of the store;
    `left_out` is filled by the run. `workers` is `None` when all is done in process.
    `nearly_fetched` is told when the last downloads are under way. `keep_groups` is what `keep`
    calls.
    """

    catalog: Catalog
    store: BlobStore
    fetcher: Fetcher
    hasher: Hasher
    digest_policy: DigestPolicy
    budget: Account
    single_flight: SingleFlight
    cooling: Cooling
    mirror: bool = False
    on_error: ErrorPolicy = "fail"
    max_errors: int | None = None
    left_out: list[LeftOut]
    staging: str
    upstream: UpstreamMemory
    alternate_remotes: dict[str, Remote]
    known_remote_ids: dict[str, int]
    workers: DownloadWorkers | None = None
    nearly_fetched: Callable[[], None]
    keep_groups: KeepGroups

    async def metadata(
        self, remote: Remote, url: str, *, expected: Mapping[str, str], **request: Any
    ) -> Fetched:
        """Return a body of which upstream's index says the digests, as a file of the run: from the
        store if the bytes are there, otherwise fetched as by `remote.get_downloader(url,
        expected=…, **request)`.

        It can be declared with `Artifact(file=…)`. What comes from the store was verified again,
        and has no headers. Raise what a download raises.
        """
        return await metadata(self, remote, url, expected, request)

    def leave_out(self, path: str, url: str, reason: str) -> None:
        """Note what could not be had, and what is kept of it from before, in a sync that goes on:
        a part of upstream's metadata, which stands for all that it lists.

        Raise `TooManyLeftOutError` when that is more than the sync's `max_errors`.
        """
        left_out = LeftOut(relative_path=path, url=redact(url), reason=reason, action="skipped")
        self.left_out.append(left_out)
        limit = self.max_errors
        if limit is not None and len(self.left_out) > limit:
            raise TooManyLeftOutError(
                f"more than {limit} artifacts could not be had; the last one was {path}: {reason}"
            )

    async def keep(
        self, content_type: type[Content], groups: Sequence[Sequence[Any]]
    ) -> list[Sequence[Any]]:
        """Let a mirror keep what the repository has of these groups of a type, as if it were
        declared again; a group is the values of the type's `group_key`.

        Return the groups of which it has nothing: what upstream has of these is to be declared.
        """
        ids = [id_of_group(content_type, group) for group in groups]
        known = await self.keep_groups(ids) if ids else set()
        return [group for group, found in zip(groups, ids, strict=True) if found not in known]

    async def remote_ids(self, remotes: Mapping[str, Remote]) -> dict[str, int]:
        """Return the catalog's ids of `remotes`, recording those that this run meets for the first
        time.
        """
        new = [remote for name, remote in remotes.items() if name not in self.known_remote_ids]
        if new:
            self.known_remote_ids.update(await self.catalog.remotes.ids(new))
        return self.known_remote_ids


class BoundStage(Stage):
    """The base of stages that use the ports of their run. They take declared content only."""

    accepts = staticmethod(check_declared)

    @property
    def context(self) -> RunContext:
        """The ports of the run. Raise `UnboundStageError` when the pipeline was started without a
        run context.
        """
        # Asked several times an item.
        found: RunContext = self._context or super().context
        return found


# Files for stored artifacts that a stage awaits, where the store has no local files.

Bring = Callable[[DeclarativeContent], Awaitable[None]]
"""Makes files of the stored bytes of a unit, for those who await it."""


def bringer(context: RunContext) -> Bring | None:
    """Return what makes files of stored bytes in the staging folder of the run; `None` where stored
    artifacts have files of the store.
    """
    if has_local_files(context.store):
        return None

    async def bring_bytes(content: DeclarativeContent) -> None:
        lacking = {
            str(declared.artifact.blake3)
            for declared in content.d_artifacts
            if isinstance(declared.artifact, StoredArtifact) and declared.artifact.file is None
        }
        # The folder goes with its run; those who ask later are told by `StoredArtifact.open`.
        if not lacking or not await in_thread(os.path.isdir, context.staging):
            return
        files = await bring(context.store, lacking, context.staging)
        for declared in content.d_artifacts:
            artifact = declared.artifact
            if isinstance(artifact, StoredArtifact) and artifact.file is None:
                name = str(artifact.blake3)
                # Where the store has lost them stands a file that is not there, so that opening it
                # says so.
                file = files.get(name, f"{context.staging}/{name}")
                declared.artifact = replace(artifact, file=file)

    return bring_bytes
