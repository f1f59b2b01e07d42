"""The repair of blobs: their bytes fetched again from wherever they are said to be, verified, and
put in their place.

Every URL of every source is tried, with the engine's own fetcher, its tries and its limits; the
first body that has the recorded size and digests is taken. A source that has other bytes today is
no source. Who the remote is, with its credentials, the caller knows; for one that he does not know,
what the catalog records of it is used, which is all but secrets.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from flowsync.catalog.upkeep.verification import KnownSource, Stored
from flowsync.engine.engine import Engine
from flowsync.errors import (
    DeclarationError,
    IntegrityError,
    SettingsError,
    StoreError,
    TransferError,
)
from flowsync.model.artifact import StagedArtifact
from flowsync.model.remote import FetchRequest, Remote
from flowsync.model.url import redact
from flowsync.pipeline.progress import Meter
from flowsync.runtime.task_groups import task_group

FindRemote = Callable[[str], Remote | None]
"""Gives the remote of that name with its credentials, or `None`. A `SettingsError` says why it
cannot be had.
"""

AT_ONCE: Final = 8
"""Artifacts that are fetched at a time."""


class Repairer:
    """Repairs blobs of an engine's store for one job. `folder` is a staging folder of the store.
    Any number of tasks may use it at once.
    """

    def __init__(
        self, engine: Engine, folder: str, find_remote: FindRemote | None, meter: Meter
    ) -> None:
        self._store = engine.store
        self._catalog = engine.catalog
        self._fetcher = engine.fetcher
        self._folder = folder
        self._find_remote = find_remote
        self._remotes = dict(engine.alternate_remotes)
        self._meter = meter
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def repair(self, artifacts: Sequence[Stored]) -> dict[int, str]:
        """Put the right blobs in their places; return why not, by the ids of the artifacts for
        which that was impossible.
        """
        origins = await self._catalog.verification.origins([artifact.id for artifact in artifacts])
        async with task_group() as group:
            tasks = {
                artifact.id: group.create_task(self._fetch(artifact, origins.get(artifact.id, [])))
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

    async def _fetch(
        self, artifact: Stored, origins: Sequence[KnownSource]
    ) -> StagedArtifact | str:
        """Return the bytes of the artifact, staged, or why they cannot be had."""
        if not origins:
            return "no source of it is known"
        failures: list[str] = []
        async with self._slots:
            for origin in origins:
                for url in origin.urls:
                    try:
                        return await self._fetch_from(url, origin, artifact)
                    except (TransferError, IntegrityError) as error:
                        failures.append(str(error))
                    except (SettingsError, DeclarationError) as error:
                        failures.append(f"{redact(url)}: {error}")
        return "; ".join(dict.fromkeys(failures))

    async def _fetch_from(self, url: str, origin: KnownSource, artifact: Stored) -> StagedArtifact:
        request = FetchRequest(
            url=url,
            remote=await self._remote(origin.remote),
            headers=origin.headers,
            expected={"sha256": artifact.sha256, "blake3": artifact.blake3},
            size=artifact.size,
            folder=self._folder,
        )
        fetched = await self._fetcher.download(request)
        self._meter.advance(1, fetched.size)
        return StagedArtifact(
            size=artifact.size,
            sha256=artifact.sha256,
            blake3=artifact.blake3,
            file=fetched.path,
        )

    async def _remote(self, name: str) -> Remote:
        if name not in self._remotes:
            given = None if self._find_remote is None else self._find_remote(name)
            if given is None:
                given = (await self._catalog.remotes.load([name]))[name]
            self._remotes[name] = given
        return self._remotes[name]
