"""The inspection of blobs: one window of artifacts against what stands in the store.

1. What stands under a name is looked at first, the whole window in one trip to a thread; what is missing or has another size is not read.
2. The others are hashed by path in the hash workers, all of a window at once. Where a rate is to be kept, files beyond a mebibyte are read in pieces
   instead, by a thread of this process.
3. What is suspected is looked at once more under the store's lock for removing: clean-up may have removed the artifact meanwhile, or a sync
   may have put the right bytes in the place of damaged ones. What is damaged is then moved to the quarantine, so that from the moment
   it is known nobody serves or exports it: it is missing.
"""

from collections.abc import Sequence

import msgspec

from flowsync.catalog.verification import Stored
from flowsync.digest.pool import Hasher
from flowsync.model.errors import StoreError
from flowsync.pipeline.progress import Meter
from flowsync.pipeline.tasks import task_group
from flowsync.store.blobs import BlobState
from flowsync.sync.engine import Engine
from flowsync.sync.upkeep.pace import PIECE, Pace, digest_at_pace

MISSING = "the blob is missing"


class Suspect(msgspec.Struct, frozen=True):
    """An artifact whose blob is not what it should be: what stands there, and what is wrong with it."""

    artifact: Stored
    state: BlobState | None
    problem: str


class Inspector:
    """Inspects blobs of an engine's store for one job. Any number of tasks may use it at once."""

    def __init__(self, engine: Engine, pace: Pace, meter: Meter, *, quick: bool) -> None:
        self._store = engine.store
        self._hasher: Hasher = engine.hasher
        self._verification = engine.catalog.verification
        self._pace = pace
        self._meter = meter
        self._quick = quick

    async def inspect(self, artifacts: Sequence[Stored]) -> list[Suspect]:
        """Return the artifacts whose blobs are missing or damaged; damaged blobs are in quarantine then. Note the others as verified."""
        states = await self._store.states([artifact.blake3 for artifact in artifacts])
        problems = await self._problems(artifacts, states)
        found = [
            Suspect(artifact, state, problem)
            for artifact, state, problem in zip(artifacts, states, problems, strict=True)
            if problem is not None
        ]
        if not self._quick:
            suspected = {suspect.artifact.id for suspect in found}
            await self._verification.mark(
                [artifact.id for artifact in artifacts if artifact.id not in suspected]
            )
        return await self._confirm(found) if found else []

    async def _problems(
        self, artifacts: Sequence[Stored], states: Sequence[BlobState | None]
    ) -> list[str | None]:
        async with task_group() as group:
            tasks = [
                group.create_task(self._problem(artifact, state))
                for artifact, state in zip(artifacts, states, strict=True)
            ]
        return [task.result() for task in tasks]

    async def _problem(self, artifact: Stored, state: BlobState | None) -> str | None:
        problem = _visible_problem(artifact, state)
        if problem is None and not self._quick:
            problem = await self._hidden_problem(artifact)
        self._meter.advance(1, artifact.size)
        return problem

    async def _hidden_problem(self, artifact: Stored) -> str | None:
        path = self._store.path(artifact.blake3)
        try:
            if self._pace.rate is not None and artifact.size > PIECE:
                size, digests = await digest_at_pace(path, self._pace)
            else:
                await self._pace.spend(artifact.size)
                size, digests = await self._hasher.digest(path, frozenset(), size=artifact.size)
        except StoreError as error:
            return f"the blob cannot be read: {error}"
        if size != artifact.size:
            return _wrong_size(artifact, size)
        for algorithm, expected in (("blake3", artifact.blake3), ("sha256", artifact.sha256)):
            if digests[algorithm] != expected:
                return f"the blob has {algorithm} {digests[algorithm]}, expected {expected}"
        return None

    async def _confirm(self, suspects: list[Suspect]) -> list[Suspect]:
        async with self._store.removing():
            recorded = await self._verification.recorded([each.artifact.id for each in suspects])
            left = [each for each in suspects if each.artifact.id in recorded]
            now = await self._store.states([each.artifact.blake3 for each in left])
            confirmed = [
                Suspect(each.artifact, state, MISSING if state is None else each.problem)
                for each, state in zip(left, now, strict=True)
                if _same(each.state, state)
            ]
            await self._store.quarantine(
                [each.artifact.blake3 for each in confirmed if each.state is not None]
            )
        return confirmed


def _visible_problem(artifact: Stored, state: BlobState | None) -> str | None:
    if state is None:
        return MISSING
    if state.size < 0:
        return "what has the name of the blob is no file"
    return None if state.size == artifact.size else _wrong_size(artifact, state.size)


def _wrong_size(artifact: Stored, size: int) -> str:
    return f"the blob has {size} bytes, expected {artifact.size}"


def _same(before: BlobState | None, now: BlobState | None) -> bool:
    """Say whether what was found wrong still stands there. A blob that went since is missing, and one that came is right: it was verified."""
    return now is None or (before is not None and before.identity == now.identity)
