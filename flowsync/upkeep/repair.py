"""The repair of blobs: their bytes brought again from wherever they are said to be, verified, and
put in their place.

Every URL of every source is tried, with the engine's own fetcher, its tries and its limits; the
first body that has the recorded size and digests is taken (`flowsync.acquire`). A source that has
other bytes today is no source. Who the remote is, with its credentials, the caller knows; for one
that the caller does not know, what the catalog records of it is used, which is all but secrets.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from flowsync.acquire.acquire import Acquisition, Reception
from flowsync.acquire.sources import ByteSource
from flowsync.catalog.upkeep.verification import KnownSource, Stored
from flowsync.engine.engine import Engine
from flowsync.errors import (
    AllSourcesFailedError,
    DeclarationError,
    FlowsyncError,
    IntegrityError,
    SettingsError,
    StoreError,
    TransferError,
)
from flowsync.model.artifact import Artifact, StagedArtifact
from flowsync.model.digest import DigestPolicy
from flowsync.model.remote import Remote
from flowsync.pipeline.progress import Meter
from flowsync.runtime.task_groups import task_group

FindRemote = Callable[[str], Remote | None]
"""Gives the remote of that name with its credentials, or `None`. A `SettingsError` says why it
cannot be had.
"""

AT_ONCE: Final = 8
"""Artifacts that are fetched at a time."""

_RECEPTION: Final = Reception(staged_only=True)
"""What is stored of these bytes is what is to be replaced."""


class Repairer:
    """Repairs blobs of an engine's store for one job. `folder` is a staging folder of the store.
    Any number of tasks may use it at once.
    """

    def __init__(
        self, engine: Engine, folder: str, find_remote: FindRemote | None, meter: Meter
    ) -> None:
        self._store = engine.store
        self._catalog = engine.catalog
        ports = engine.acquire_ports(folder)
        # What is recorded was computed here, so its BLAKE3 vouches whatever upstreams may declare.
        allowed = DigestPolicy(ports.digest_policy.allowed | {"blake3"})
        self._ports = replace(ports, digest_policy=allowed)
        self._find_remote = find_remote
        self._remotes: dict[str, Remote | FlowsyncError] = dict(engine.alternate_remotes)
        self._meter = meter
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def repair(self, artifacts: Sequence[Stored]) -> dict[int, str]:
        """Put the right blobs in their places; return why not, by the ids of the artifacts for
        which that was impossible.
        """
        known = await self._catalog.verification.origins([artifact.id for artifact in artifacts])
        await self._find_remotes({each.remote for sources in known.values() for each in sources})
        async with task_group() as group:
            tasks = {
                artifact.id: group.create_task(self._fetch(artifact, known.get(artifact.id, [])))
                for artifact in artifacts
            }
        outcomes = {number: task.result() for number, task in tasks.items()}
        staged = {
            number: outcome
            for number, outcome in outcomes.items()
            if isinstance(outcome, StagedArtifact)
        }
        reasons = {number: text for number, text in outcomes.items() if isinstance(text, str)}
        return reasons | await self._put_in_place(staged)

    async def _put_in_place(self, staged: dict[int, StagedArtifact]) -> dict[int, str]:
        """Store what was fetched; return why not, for what the store refuses."""
        if not staged:
            return {}
        try:
            await self._store_recorded(staged)
        except StoreError as error:
            if len(staged) == 1:
                return dict.fromkeys(staged, str(error))
            # One of them may be refused for reasons of its own.
            reasons: dict[int, str] = {}
            for number, artifact in staged.items():
                reasons |= await self._put_in_place({number: artifact})
            return reasons
        return {}

    async def _store_recorded(self, staged: dict[int, StagedArtifact]) -> None:
        # Clean-up must not take the record away between the question and the answer, or a blob
        # without one would stay.
        async with self._store.storing():
            recorded = await self._catalog.verification.recorded(list(staged))
            await self._store.persist([staged[number] for number in recorded])
        await self._catalog.verification.mark(list(recorded))
        await self._store.release([str(artifact.blake3) for artifact in staged.values()])

    async def _fetch(self, artifact: Stored, known: Sequence[KnownSource]) -> StagedArtifact | str:
        """Return the bytes of the artifact, staged, or why they cannot be had."""
        if not known:
            return "no source of it is known"
        wanted = Artifact(size=artifact.size, sha256=artifact.sha256, blake3=artifact.blake3)
        sources = [self._source(each) for each in known]
        acquisition = Acquisition(
            self._ports,
            artifact.sha256,
            wanted,
            sources,
            _RECEPTION,
            partial(self._meter.advance, 0),
        )
        try:
            async with self._slots:
                staged = await acquisition.bring()
        except AllSourcesFailedError as failed:
            return "; ".join(dict.fromkeys(map(str, failed.failures)))
        except (TransferError, IntegrityError, SettingsError, DeclarationError) as failure:
            return str(failure)
        assert isinstance(staged, StagedArtifact)
        self._meter.advance(1)
        return staged

    def _source(self, known: KnownSource) -> ByteSource:
        found = self._remotes.get(known.remote)
        if isinstance(found, FlowsyncError):
            return ByteSource(None, known.urls, known.headers, refused=found)
        return ByteSource(found, known.urls, known.headers)

    async def _find_remotes(self, names: Collection[str]) -> None:
        """Find the remotes, or why they cannot be had."""
        recorded = [name for name in names if name not in self._remotes and not self._given(name)]
        if recorded:
            self._remotes.update(await self._catalog.remotes.load(recorded))

    def _given(self, name: str) -> bool:
        """Say whether the caller gives the remote, or says why it cannot be had."""
        try:
            given = None if self._find_remote is None else self._find_remote(name)
        except (SettingsError, DeclarationError) as error:
            self._remotes[name] = error
            return True
        if given is not None:
            self._remotes[name] = given
        return given is not None
