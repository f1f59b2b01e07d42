"""The repair of blobs: their bytes brought again from wherever they are said to be, verified, and
put in their place.

Every URL of every source is tried, with the engine's own fetcher, its tries and its limits; the
first body that has the recorded size and digests is taken (`flowsync.acquire`). A source that has
other bytes today is no source. Who the remote is, with its credentials, the caller knows; for one
that the caller does not know, what the catalog records of it is used, which is all but secrets.

Also here: the inspection of blobs. What is inspected is what is then repaired.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
from msgspec.structs import replace

from flowsync.acquire.acquire import Acquisition, Reception
from flowsync.acquire.sources import ByteSource
from flowsync.catalog.upkeep.verification import KnownSource, Stored
from flowsync.digest.pool import Hasher
from flowsync.engine.engine import Engine
from flowsync.errors import (
    AllSourcesFailedError,
    DeclarationError,
    FlowsyncError,
    HashingError,
    IntegrityError,
    SettingsError,
    StoreError,
    TransferError,
)
from flowsync.model.artifact import Artifact, DigestPolicy, StagedArtifact
from flowsync.model.remote import Remote
from flowsync.model.reports import Kind
from flowsync.pipeline.stage import Meter
from flowsync.runtime.tasks import task_group
from flowsync.store.port import LARGEST_CHUNK, BlobState
from flowsync.upkeep.prune import Pace, digest_at_pace

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


# The inspection of blobs: one window of artifacts against what stands in the store.
#
# 1. What stands under a name is looked at first, the whole window in one trip to a thread; what is
#    missing or has another size is not read.
# 2. The others are hashed by path in the hash workers, all of a window at once. Where a rate is to
#    be kept, blobs beyond a chunk of the store are read in chunks instead, by a thread of this
#    process; and so are all blobs of a store without local files, `READ_AT_ONCE` at a time.
# 3. What is suspected is looked at once more under the store's lock for removing: clean-up may have
#    removed the artifact meanwhile, or a sync may have put the right bytes in the place of damaged
#    ones. What is damaged is then moved to the quarantine, so that from the moment it is known
#    it is not served or exported: it is missing.
# 4. Damaged is what was read to its end and has other bytes. What cannot be looked at (permissions,
#    a failing disk, too few descriptors) stays where it is: nothing is known of its bytes, and
#    whatever stands in the way may go away.
# 5. Right bytes that lie in the quarantine, because they were taken for damaged, go back to their
#    name.

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
