"""Reclaiming: the bytes of some versions given up, where nothing else needs them and they can be
fetched again.

1. An artifact goes when all its links are of units that only the reclaimed versions of the
   repository have. What another repository, a kept version, a version in the making or a unit
   without a version links to stays.
2. Each path that loses its bytes has a source to fetch them from again; an artifact of which one
   path has none is refused and listed.
3. What remains is what an on-demand sync would have made: the version is what it was, its content
   is fetched by the next sync with the policy immediate, or when it is asked for.
4. Beside running syncs, and killed at any moment, it behaves like clean-up (`prune.py`): records
   first, then blobs, under the store's lock. What a running sync may be using stays and is counted.
"""

import time
from collections.abc import Sequence
from contextlib import aclosing

from flowsync.catalog.upkeep.orphans import Release, Scope
from flowsync.engine.engine import Engine
from flowsync.engine.operations import ends_with_engine
from flowsync.model.measures import expect_count
from flowsync.model.reports import LISTED, ReclaimReport


@ends_with_engine
async def reclaim(
    engine: Engine,
    repository: str,
    versions: Sequence[int] | None = None,
    *,
    keep_latest: int = 0,
    apply: bool = False,
) -> ReclaimReport:
    """Find which bytes only these versions of the repository need, with `apply` give them up, and
    report how much it is.

    Without `versions`, all are meant but the `keep_latest` newest. Raise `RepositoryNotFoundError`
    or `VersionNotFoundError` when there is none, and `SettingsError` for what is no number.
    """
    expect_count("keep_latest", keep_latest, 0, None)
    for number in versions or ():
        expect_count("the number of a version", number, 0, None)
    started = time.monotonic()
    numbers = await _numbers(engine, repository, versions, keep_latest)
    scope = await engine.catalog.reclaiming.scope(repository, numbers)
    tally = _Tally()
    plans = engine.catalog.verification.plan(repository)
    async with plans as plan, aclosing(plan.windows()) as windows:
        async for window in windows:
            verdicts = await scope.judge([artifact.id for artifact in window])
            free = tally.take(verdicts)
            if apply and free:
                await _drop(engine, scope, free, tally)
            elif free:
                tally.count(len(free), sum(verdict.size for verdict in free))
    return ReclaimReport(
        repository=repository,
        versions=tuple(numbers),
        applied=apply,
        artifacts=tally.artifacts,
        bytes=tally.bytes,
        shared=tally.shared,
        busy=tally.busy,
        refused=tally.refused,
        refused_paths=tuple(tally.refused_paths),
        seconds=time.monotonic() - started,
    )


async def _numbers(
    engine: Engine, repository: str, versions: Sequence[int] | None, keep_latest: int
) -> list[int]:
    if versions is not None:
        return sorted(set(versions))
    known = [version.number for version in await engine.catalog.repositories.versions(repository)]
    return known[: max(len(known) - keep_latest, 0)]


async def _drop(engine: Engine, scope: Scope, free: Sequence[Release], tally: "_Tally") -> None:
    async with engine.store.removing():
        blobs = await scope.drop([verdict.id for verdict in free])
        # What cannot be removed is without a record now: clean-up tries again.
        refused = await engine.store.remove([blob.name for blob in blobs])
    tally.count(len(blobs), sum(blob.size for blob in blobs if blob.name not in refused))
    # What was taken hold of between the two looks.
    tally.busy += len(free) - len(blobs)


class _Tally:
    """The figures of one reclaiming."""

    def __init__(self) -> None:
        self.artifacts = 0
        self.bytes = 0
        self.shared = 0
        self.busy = 0
        self.refused = 0
        self.refused_paths: list[str] = []

    def take(self, verdicts: Sequence[Release]) -> list[Release]:
        """Count those that stay, each for the first thing that speaks against it; return the
        others.
        """
        for verdict in verdicts:
            if verdict.shared:
                self.shared += 1
            elif verdict.sourceless:
                self.refused += 1
                if len(self.refused_paths) < LISTED and verdict.relative_path is not None:
                    self.refused_paths.append(verdict.relative_path)
            elif verdict.busy:
                self.busy += 1
        return [verdict for verdict in verdicts if verdict.may_go]

    def count(self, artifacts: int, size: int) -> None:
        """Count what goes."""
        self.artifacts += artifacts
        self.bytes += size
