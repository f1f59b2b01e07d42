"""Verification: every stored blob against its recorded size and digests, and, where wanted, its
repair.

1. What was verified longest ago comes first, and what is right is noted window by window. So a run
   that was interrupted, however it was, is continued by the next one: what it did comes last there.
2. A damaged blob is never served or exported from the moment it is known: it is moved to the
   store's quarantine, with or without repair, and is missing from then on. The record stays, so
   that each verification tells of it until the bytes are back.
3. Bytes come back from the quarantine, where they turn out to be right, by repair, or by whatever
   stores the same bytes again: persisting puts them where they are missing. A sync alone does not:
   it sees the record and fetches nothing.
4. Two windows are in the works at a time, so that a large file at the end of one leaves no core
   idle. Memory holds these two, and at most a thousand findings.

5. A blob that cannot be looked at stays where it is. Repair fetches its bytes like those of any
   other and puts them in its place.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Final

from flowsync.catalog.upkeep.verification import ArtifactUse, Stored, VerificationOrder
from flowsync.engine.engine import Engine
from flowsync.engine.operations import ends_with_engine, observed
from flowsync.model.events import Observer
from flowsync.model.measures import LARGEST_RATE, SMALLEST, expect_measure
from flowsync.model.reports import LISTED, Finding, VerifyReport
from flowsync.pipeline.stage import Progress
from flowsync.runtime.tasks import task_group
from flowsync.upkeep.prune import Pace
from flowsync.upkeep.repair import FindRemote, Inspector, Repairer, Suspect

WHOLE: Final = "store"
"""What observers are told instead of a repository where the whole store is verified."""

_LANES: Final = 2
_WINDOW_BYTES: Final = 1 << 30
"""Bytes after which what was found right is noted, so that little is done again after a kill, also
at a slow pace.
"""


@ends_with_engine
async def verify(
    engine: Engine,
    repository: str | None = None,
    *,
    repair: bool = False,
    quick: bool = False,
    limit: float | None = None,
    find_remote: FindRemote | None = None,
    observers: Sequence[Observer] = (),
) -> VerifyReport:
    """Check the blobs of all versions of a repository, by default of all repositories, and report
    what was wrong.

    Right bytes that lie in the quarantine are taken back. With `repair`, what is wrong is fetched
    again; `find_remote` gives the remotes with their credentials. `quick` reads no blob and sees
    only what is missing or has another size. `limit` is the bytes a second to read from the store.
    `observers` get `SyncProgressed` events, for "store" where it is all.

    Raise `RepositoryNotFoundError` when there is no such repository, `StoreError` when the store
    cannot be written, and `SettingsError` for a limit that is no positive number.
    """
    if limit is not None:
        wanted = "a positive number of bytes a second"
        expect_measure("limit", limit, wanted, least=SMALLEST, most=LARGEST_RATE)
    started = time.monotonic()
    progress = Progress()
    async with AsyncExitStack() as held:
        plan = await held.enter_async_context(engine.catalog.verification.plan(repository))
        await held.enter_async_context(
            observed(repository or WHOLE, progress, (*engine.observers, *observers))
        )
        checking = held.enter_context(
            progress.meter("verify.checking", "Verifying Blobs", plan.count)
        )
        job = _Verifying(engine, Inspector(engine, Pace(limit), checking, quick=quick))
        if repair:
            fetching = held.enter_context(progress.meter("verify.repairing", "Repairing Blobs"))
            folder = await held.enter_async_context(engine.store.staging())
            job.repairer = Repairer(engine, folder, find_remote, fetching)
        await job.run(plan)
        return VerifyReport(
            repository=repository,
            quick=quick,
            checked=checking.done,
            bytes=checking.size,
            missing=job.missing,
            damaged=job.damaged,
            unreadable=job.unreadable,
            repaired=job.repaired,
            findings=tuple(job.findings),
            seconds=time.monotonic() - started,
        )


class _Verifying:
    """One verification and what it found."""

    def __init__(self, engine: Engine, inspector: Inspector) -> None:
        self.repairer: Repairer | None = None
        self.missing = 0
        self.damaged = 0
        self.unreadable = 0
        self.repaired = 0
        self.findings: list[Finding] = []
        self._verification = engine.catalog.verification
        self._inspector = inspector

    async def run(self, plan: VerificationOrder) -> None:
        turn = asyncio.Lock()
        async with aclosing(_parts(plan)) as parts, task_group() as group:
            for _ in range(_LANES):
                group.create_task(self._work(parts, turn))

    async def _work(self, parts: AsyncGenerator[list[Stored], None], turn: asyncio.Lock) -> None:
        while True:
            async with turn:
                part = await anext(parts, None)
            if part is None:
                return
            suspects = await self._inspector.inspect(part)
            if suspects:
                await self._treat(suspects)

    async def _treat(self, suspects: list[Suspect]) -> None:
        reasons: dict[int, str] = {}
        ill = [suspect for suspect in suspects if not suspect.healed]
        self.repaired += len(suspects) - len(ill)
        if self.repairer is not None and ill:
            reasons = await self.repairer.repair([suspect.artifact for suspect in ill])
            self.repaired += len(ill) - len(reasons)
        found = Counter(suspect.problem.kind for suspect in suspects)
        self.missing += found["missing"]
        self.damaged += found["damaged"]
        self.unreadable += found["unreadable"]
        await self._list(suspects, reasons)

    async def _list(self, suspects: list[Suspect], reasons: dict[int, str]) -> None:
        listed = suspects[: max(0, LISTED - len(self.findings))]
        places = await self._verification.places([suspect.artifact.id for suspect in listed])
        for suspect in listed:
            artifact = suspect.artifact
            place = places.get(artifact.id, ArtifactUse(None, None))
            reason = reasons.get(artifact.id)
            self.findings.append(
                Finding(
                    blake3=artifact.blake3,
                    sha256=artifact.sha256,
                    size=artifact.size,
                    repository=place.repository,
                    relative_path=place.relative_path,
                    kind=suspect.problem.kind,
                    problem=suspect.problem.text,
                    repaired=suspect.healed or (self.repairer is not None and reason is None),
                    reason=reason,
                )
            )


async def _parts(plan: VerificationOrder) -> AsyncGenerator[list[Stored], None]:
    """Yield the windows of the plan, cut where they hold many bytes."""
    async with aclosing(plan.windows()) as windows:
        async for window in windows:
            part: list[Stored] = []
            size = 0
            for artifact in window:
                part.append(artifact)
                size += artifact.size
                if size >= _WINDOW_BYTES:
                    yield part
                    part, size = [], 0
            if part:
                yield part
