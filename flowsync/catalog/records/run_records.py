"""Records of runs: when a sync of a repository began, how far it is, what it left out, and how it
ended.

1. A run begins when it holds its repository: a sync that waits for another, or is refused because
   of it, has not begun.
2. For as long as it lives it holds a lock of its own, over the connection in which its version is
   made. A record without an end whose lock is free is of a run whose process is gone: it is
   shown as "lost", and nothing has to go round and mark it. So is, for the moment between its last
   statement on that connection and the record of its end, one that ends well.
3. Progress and what was left out are written in one statement each time, however much there is.
4. All text that goes into a record is made recordable here: a run has an end also when an error,
   a path or a counter holds what the database cannot.

Decisions: docs/decisions/0004.

Also here: which store the catalog has its bytes in.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from flowsync.catalog.postgres.database import Database, server_cursor
from flowsync.catalog.postgres.schema import StoreBinding
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.catalog.versions.versions import LARGEST_NUMBER, expect_possible, repository_not_found
from flowsync.errors import RunNotFoundError
from flowsync.model.events import Reading
from flowsync.model.measures import expect_count, problem_with_count
from flowsync.model.recordable import problem_with_text, recordable, recordable_json
from flowsync.model.reports import Run, RunTerms
from flowsync.model.repository import LeftOut, RunState

_BATCH: Final = 500

_REMOVED_AT_ONCE: Final = 200
"""Records of runs that go in one statement; each may have a thousand rows of what it left out."""


class RunKey(msgspec.Struct, frozen=True):
    """What names a run: its id in the database, and the number that people use."""

    id: UUID
    number: int


class Runs:
    """The run records of one database; part of its `Catalog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, version: NewVersion, actor: str, terms: RunTerms) -> RunKey:
        """Record that a run begins which makes `version`; it counts as alive as long as something
        has that version in hand.
        """
        ((run, number, _),) = await version._session.fetch(
            "start_run",
            actor=recordable(actor),
            terms=recordable_json(terms),
            lock=self._database.locks.runs,
        )
        return RunKey(run, number)

    async def advance(
        self, run: RunKey, progress: Sequence[Reading], left_out: Sequence[LeftOut], first: int
    ) -> None:
        """Record how far a run is, and what it left out from the `first` one on (counted
        from 0).
        """
        await self._database.execute("advance_run", _standing(run, progress, left_out, first))

    async def finish(
        self,
        run: RunKey,
        state: RunState,
        progress: Sequence[Reading],
        left_out: Sequence[LeftOut],
        first: int,
        *,
        result: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        """Record how a run ended, and what `advance` has not been told of yet."""
        outcome = {
            "state": state,
            "version": None if result is None else result.get("version"),
            "result": None if result is None else recordable_json(result),
            "error": None if error is None else recordable(error),
        }
        standing = _standing(run, progress, left_out, first)
        await self._database.execute("finish_run", {**standing, **outcome})

    async def newest(self, repository: str | None = None, limit: int = 20) -> list[Run]:
        """Return the newest runs, newest first, of one repository or of all. Raise
        `RepositoryNotFoundError` when there is no such repository.
        """
        expect_count("limit", limit, 0, None)
        most = min(limit, LARGEST_NUMBER)
        if repository is not None:
            expect_possible(repository)
        params = {
            "name": repository,
            "number": None,
            "limit": most,
            "lock": self._database.locks.runs,
        }
        rows = await self._database.fetch("list_runs", params)
        if not rows and repository is not None:
            await self._expect(repository)
        return [_run(row) for row in rows]

    async def run(self, number: int, repository: str | None = None) -> Run:
        """Return the run of that number. Raise `RunNotFoundError` when there is none, or it is of
        another repository than is named.
        """
        params = {
            "name": repository,
            "number": number,
            "limit": 1,
            "lock": self._database.locks.runs,
        }
        possible = problem_with_count(number, 0, LARGEST_NUMBER) is None
        possible = possible and (repository is None or problem_with_text(repository) is None)
        row = await self._database.fetch_one("list_runs", params) if possible else None
        if row is None:
            of = "" if repository is None else f" of repository {repository!r}"
            raise RunNotFoundError(f"no run{of} has the number {number}")
        return _run(row)

    async def remove(
        self, older_than: timedelta, repository: str | None = None, *, apply: bool = True
    ) -> int:
        """Remove the records of runs that ended, or were lost, longer ago, of one repository or of
        all; return their number.

        Of each repository the last run stays, and the last that went well. With `apply=False` they
        are only counted. Raise `RepositoryNotFoundError` when there is no such repository.
        """
        if repository is not None:
            await self._expect(repository)
        params = {"name": repository, "older_than": older_than, "lock": self._database.locks.runs}
        if not apply:
            ((count,),) = await self._database.fetch("count_old_runs", params)
            return int(count)
        removed = 0
        batch = {**params, "limit": _REMOVED_AT_ONCE}
        while count := await self._database.execute("delete_old_runs", batch):
            removed += count
        return removed

    async def _expect(self, repository: str) -> None:
        expect_possible(repository)
        if await self._database.fetch_one("find_repository", {"name": repository}) is None:
            raise repository_not_found(repository)

    async def left_out(self, number: int) -> AsyncGenerator[list[LeftOut], None]:
        """Yield what a run left out, in the order in which it gave it up, in batches."""
        if problem_with_count(number, 0, LARGEST_NUMBER) is not None:
            return
        async with server_cursor(self._database, "run_left_out", {"number": number}) as cursor:
            while rows := await cursor.fetchmany(_BATCH):
                yield [
                    LeftOut(relative_path=path, url=url, reason=reason, action=action)
                    for path, url, reason, action in rows
                ]


def _standing(
    run: RunKey, progress: Sequence[Reading], left_out: Sequence[LeftOut], first: int
) -> dict[str, Any]:
    fresh = left_out[first:]
    return {
        "run": run.id,
        "progress": recordable_json(progress),
        "first": first,
        "relative_paths": [recordable(one.relative_path) for one in fresh],
        "urls": [recordable(one.url) for one in fresh],
        "reasons": [recordable(one.reason) for one in fresh],
        "actions": [one.action for one in fresh],
    }


def _run(row: Sequence[Any]) -> Run:
    number, repository, state, actor, terms, started, seen, ended, *outcome = row
    version, progress, result, error, left_out = outcome
    return Run(
        number=number,
        repository=repository,
        state=state,
        actor=actor,
        terms=msgspec.convert(terms, RunTerms),
        started=started,
        seen=seen,
        ended=ended,
        version=version,
        progress=msgspec.convert(progress, tuple[Reading, ...]),
        result=result,
        error=error,
        left_out=left_out,
    )


# Which store a catalog has its bytes in, as the catalog records it.

_SAMPLE = 50


class StoreBindings:
    """The record of the store of one catalog; part of its `Catalog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> StoreBinding:
        """Return what is recorded now."""
        ((catalog, store),) = await self._database.fetch("identity")
        return StoreBinding(catalog=catalog, store=store)

    async def bind(self, before: UUID | None, store: UUID) -> None:
        """Record the store, unless another process recorded one since `before` was read."""
        await self._database.execute("bind_store", {"before": before, "store": store})

    async def sample(self) -> list[str]:
        """Return the names of some blobs that are recorded; none when there are none."""
        return [name for (name,) in await self._database.fetch("newest_blobs", {"limit": _SAMPLE})]
