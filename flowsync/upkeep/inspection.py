"""The inspection of blobs: one window of artifacts against what stands in the store.

1. What stands under a name is looked at first, the whole window in one trip to a thread; what is
   missing or has another size is not read.
2. The others are hashed by path in the hash workers, all of a window at once. Where a rate is to be
   kept, blobs beyond a chunk of the store are read in chunks instead, by a thread of this process;
   and so are all blobs of a store without local files, `READ_AT_ONCE` at a time.
3. What is suspected is looked at once more under the store's lock for removing: clean-up may have
   removed the artifact meanwhile, or a sync may have put the right bytes in the place of damaged
   ones. What is damaged is then moved to the quarantine, so that from the moment it is known nobody
   serves or exports it: it is missing.
4. Damaged is what was read to its end and has other bytes. What cannot be looked at (permissions, a
   failing disk, too few descriptors) stays where it is: nothing is known of its bytes, and whatever
   stands in the way may go away.
5. Right bytes that lie in the quarantine, because they were taken for damaged, go back to their
   name.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from flowsync.catalog.upkeep.verification import Stored
from flowsync.digest.pool import Hasher
from flowsync.engine.engine import Engine
from flowsync.errors import HashingError, StoreError
from flowsync.model.upkeep import Kind
from flowsync.pipeline.progress import Meter
from flowsync.runtime.task_groups import task_group
from flowsync.store.port import LARGEST_CHUNK, BlobState
from flowsync.upkeep.pace import Pace, digest_at_pace

READ_AT_ONCE: Final = 32
"""Blobs that are read in chunks at a time."""


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a blob, and what was found."""

    kind: Kind
    text: str


_MISSING: Final = Problem("missing", "the blob is missing")


class Suspect(msgspec.Struct, frozen=True):
    """An artifact whose blob is not what it should be: what stands there, and what is wrong with
    it. `healed` says that it is right again.
    """

    artifact: Stored
    state: BlobState | None
    problem: Problem
    healed: bool = False


class Inspector:
    """Inspects blobs of an engine's store for one job. Any number of tasks may use it at once."""

    def __init__(self, engine: Engine, pace: Pace, meter: Meter, *, quick: bool) -> None:
        self._store = engine.store
        self._hasher: Hasher = engine.hasher
        self._verification = engine.catalog.verification
        self._pace = pace
        self._meter = meter
        self._quick = quick
        self._reading = asyncio.Semaphore(READ_AT_ONCE)

    async def inspect(self, artifacts: Sequence[Stored]) -> list[Suspect]:
        """Return the artifacts whose blobs are not right or cannot be looked at; damaged blobs are
        in quarantine then. Note the others as verified.
        """
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
        return await self._treat(found) if found else []

    async def _treat(self, found: list[Suspect]) -> list[Suspect]:
        restored = await self._store.restore([suspect.artifact.blake3 for suspect in found])
        healed = [
            msgspec.structs.replace(each, healed=True)
            for each in found
            if each.artifact.blake3 in restored
        ]
        if healed:
            await self._verification.mark([each.artifact.id for each in healed])
        left = [each for each in found if each.artifact.blake3 not in restored]
        return healed + (await self._confirm(left) if left else [])

    async def _problems(
        self, artifacts: Sequence[Stored], states: Sequence[BlobState | None]
    ) -> list[Problem | None]:
        async with task_group() as group:
            tasks = [
                group.create_task(self._problem(artifact, state))
                for artifact, state in zip(artifacts, states, strict=True)
            ]
        return [task.result() for task in tasks]

    async def _problem(self, artifact: Stored, state: BlobState | None) -> Problem | None:
        problem = _visible_problem(artifact, state)
        if problem is None and not self._quick:
            problem = await self._hidden_problem(artifact)
        self._meter.advance(1, artifact.size)
        return problem

    async def _hidden_problem(self, artifact: Stored) -> Problem | None:
        path = self._store.local(artifact.blake3)
        try:
            if path is None or (self._pace.rate is not None and artifact.size > LARGEST_CHUNK):
                size, digests = await self._read(artifact.blake3)
            else:
                await self._pace.spend(artifact.size)
                size, digests = await self._hasher.digest(path, frozenset(), size=artifact.size)
        except (StoreError, HashingError) as error:
            return Problem("unreadable", f"the blob cannot be read: {error}")
        if size != artifact.size:
            return _wrong_size(artifact, size)
        for algorithm, expected in (("blake3", artifact.blake3), ("sha256", artifact.sha256)):
            if digests[algorithm] != expected:
                found = f"the blob has {algorithm} {digests[algorithm]}, expected {expected}"
                return Problem("damaged", found)
        return None

    async def _read(self, name: str) -> tuple[int, dict[str, str]]:
        async with self._reading, self._store.reading(name) as reader:
            return await digest_at_pace(reader.chunks, self._pace)

    async def _confirm(self, suspects: list[Suspect]) -> list[Suspect]:
        async with self._store.removing():
            recorded = await self._verification.recorded([each.artifact.id for each in suspects])
            left = [each for each in suspects if each.artifact.id in recorded]
            now = await self._store.states([each.artifact.blake3 for each in left])
            confirmed = [
                Suspect(each.artifact, state, _MISSING if state is None else each.problem)
                for each, state in zip(left, now, strict=True)
                if _same(each.state, state)
            ]
            refused = await self._store.quarantine(
                [each.artifact.blake3 for each in confirmed if each.problem.kind == "damaged"]
            )
        return [_noted(each, refused) for each in confirmed]


def _noted(suspect: Suspect, refused: Mapping[str, str]) -> Suspect:
    """Return the suspect, with a word on why it could not be moved to the quarantine, where that is
    so.
    """
    reason = refused.get(suspect.artifact.blake3)
    if reason is None:
        return suspect
    text = f"{suspect.problem.text}; it cannot be moved to quarantine: {reason}"
    return msgspec.structs.replace(suspect, problem=Problem("damaged", text))


def _visible_problem(artifact: Stored, state: BlobState | None) -> Problem | None:
    if state is None:
        return _MISSING
    if state.trouble:
        return Problem("unreadable", f"the blob cannot be looked at: {state.trouble}")
    if state.size < 0:
        return Problem("damaged", "what has the name of the blob is no file")
    return None if state.size == artifact.size else _wrong_size(artifact, state.size)


def _wrong_size(artifact: Stored, size: int) -> Problem:
    return Problem("damaged", f"the blob has {size} bytes, expected {artifact.size}")


def _same(before: BlobState | None, now: BlobState | None) -> bool:
    """Say whether what was found wrong still stands there. A blob that went since is missing, and
    one that came is right: it was verified.
    """
    return now is None or (before is not None and before.identity == now.identity)
