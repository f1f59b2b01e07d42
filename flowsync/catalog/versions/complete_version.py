"""The completion of a version: the one commit that makes it visible, after its units have been
found able to coexist (`complete_version.py`).

A version that neither adds nor removes anything is not completed. What is remembered of upstream is
written all the same, over the session that holds the repository: whoever waited for it finds it.
That nothing changes is looked at again after additions have replaced older units, because content
that was added on top of a base may lead back to the latest version.

Decisions: docs/decisions/0003.

The rules that the units of a version must keep, checked when it is about to be completed.

1. Of two units with the same natural key or the same repository key, the one that this version adds
   replaces the one that was there; two that are both added are an error.
2. At one path there are, as far as is known, the same bytes, however many units share them; and no
   path lies below another path. Bytes are the same when the artifact is, or when a digest is,
   stored or declared by upstream; units whose bytes nothing is known of cannot share a path.
3. Added units are of the types that the repository allows. What a repository held before its types
   were narrowed stays.
4. Only additions are looked at, against the whole: what was there together before goes on to be.
   The cost follows the change.

Additions are what the version has and its start has not, so that what is added on top of a base
replaces what the base has. They are put into temporary tables: the planner would take the rows of a
number it has never seen for a handful (`bench/catalog/bench_versions.py`). Large ones are analysed;
of small ones their size on the disk tells it enough.

Decisions: docs/decisions/0003.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from flowsync.catalog.versions.lookup import next_state
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.catalog.versions.session import Start, VersionSession
from flowsync.errors import (
    DisallowedContentError,
    DuplicateContentError,
    PlanOutdatedError,
    RepositoryVersionError,
)
from flowsync.model.content_set import root_of
from flowsync.model.repository import Repository, RepositoryVersion
from flowsync.runtime.task_groups import task_group

ANALYZED_FROM: Final = 2000
"""Rows from which a temporary table is analysed. With 1000 of 100 000 units changed, it made no
difference (`bench/catalog/bench_versions.py`).
"""


class Coexistence:
    """The check of one version; used once, in the order `collect_additions`, `replace_content`,
    `check`.

    `where` names the version in errors, `start` is what it started from. What only an older unit
    could break is not looked for when it started empty.
    """

    def __init__(self, session: VersionSession, where: str, start: Start) -> None:
        self._session = session
        self._where = where
        self._start = start

    async def collect_additions(self) -> None:
        """Gather what is added, for the other two."""
        based = self._start.base_number is not None
        collect = "collect_additions_to_base" if based else "collect_additions"
        await self._collect(collect, "analyze_addition")

    async def replace_content(self) -> int:
        """Take out of the version what additions replace; return the number of units.

        Raise `DuplicateContentError` when a sync has declared both with one natural key: next time
        the other one would be new.
        """
        if self._start.is_empty:
            return 0
        ((count,),) = await self._session.fetch("replace_content")
        if count:
            self._refuse_pairs(await self._session.fetch("replaced_though_declared"))
        return int(count)

    async def check(self, allowed_types: frozenset[str] | None) -> None:
        """Raise the error of the first rule that is broken: `DisallowedContentError`,
        `DuplicateContentError`, `RepositoryVersionError`.
        """
        if allowed_types is not None:
            await self._check_types(allowed_types)
        await self._check_keys()
        await self._collect("collect_added_paths", "analyze_added_path")
        await self._check_shared_paths()
        await self._check_nested_paths()

    async def _check_types(self, allowed: frozenset[str]) -> None:
        rows = await self._session.fetch("disallowed_types", allowed=sorted(allowed))
        if rows:
            found = ", ".join(name for (name,) in rows)
            raise DisallowedContentError(
                f"{self._where}: content of type {found} is not allowed, "
                f"only of {', '.join(sorted(allowed)) or 'none'}"
            )

    async def _check_keys(self) -> None:
        self._refuse_pairs(await self._session.fetch("repeated_keys"))

    def _refuse_pairs(self, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            shown = [" and ".join(map(_unit, units[:2], lines[:2])) for units, lines, _ in rows]
            raise DuplicateContentError(
                f"{self._where}: units that exclude each other are added together: "
                f"{_listed(shown, rows[0][-1])}"
            )

    async def _check_shared_paths(self) -> None:
        if not await self._collect("collect_shared_paths", "analyze_shared_path"):
            return
        rows = await self._session.fetch("contested_paths")
        if rows:
            shown = [repr(path) for path, _ in rows]
            raise RepositoryVersionError(
                f"{self._where}: several units have different bytes at one path: "
                f"{_listed(shown, rows[0][-1])}"
            )

    async def _check_nested_paths(self) -> None:
        rows = await self._session.fetch("paths_below_paths")
        if not rows and not self._start.is_empty:
            rows = await self._session.fetch("paths_above_paths")
        if rows:
            raise RepositoryVersionError(
                f"{self._where}: a path lies below the path of a file: {_pairs(rows)}"
            )

    async def _collect(self, collect: str, analyze: str) -> int:
        """Fill a temporary table and return how many rows it got."""
        count = await self._session.execute(collect)
        if count >= ANALYZED_FROM:
            await self._session.execute(analyze)
        return count


def _unit(described: str, line: int | None) -> str:
    return repr(described) if line is None else f"{described!r} (line {line})"


def _pairs(rows: Sequence[tuple[Any, ...]]) -> str:
    return _listed([f"{below!r} below {path!r}" for path, below, _ in rows], rows[0][-1])


def _listed(shown: Sequence[str], count: int) -> str:
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


BESIDE: Final = 20_000
"""Changes from which a second connection is worth what it costs: some ms on either side."""


async def complete(
    session: VersionSession, repository: Repository, start: Start, version: NewVersion
) -> RepositoryVersion | None:
    """Complete `version`, durably, and return it as it was recorded; discard it and return `None`
    when it changes nothing.

    Raise a `RepositoryVersionError` when its units cannot coexist, and `PlanOutdatedError` when
    they are not those of its expected root.
    """
    state: bytes | None = None
    added, removed = await _count_changes(session)
    if added or (removed and start.base_number is not None):
        where = f"repository version {session.number} of {repository.name!r}"
        coexistence = Coexistence(session, where, start)
        await coexistence.collect_additions()
        if await coexistence.replace_content():
            added, removed = await _count_changes(session)
        if added + removed < BESIDE:
            await coexistence.check(repository.allowed_types)
        else:
            async with task_group() as group:
                summing = group.create_task(
                    next_state(session, start, added=added, removed=removed, beside=True)
                )
                await coexistence.check(repository.allowed_types)
            state = summing.result()
    if not added and not removed:
        await _change_nothing(session, version)
        return None
    present = start.present + added - removed
    if state is None:
        state = await next_state(session, start, added=added, removed=removed)
    root = root_of(state)
    expected = version.expected_root
    if expected is not None and root.hex() != expected:
        raise PlanOutdatedError(
            f"{repository.name!r} was planned to come to root {expected[:12]}, but upstream "
            f"leads to {root.hex()[:12]} now, with {added} added "
            f"and {removed} removed: upstream moved on, or has artifacts without a digest, "
            "which only a download tells apart; "
            "nothing was changed, make a new plan"
        )
    info = msgspec.json.encode(version.info).decode()
    ((created,),) = await session.fetch(
        "complete_version",
        info=info,
        last_sync=_encoded(version.this_sync(session.number)),
        added=added,
        removed=removed,
        present=present,
        root=root,
        state=state,
    )
    return RepositoryVersion(
        repository=repository.name,
        number=session.number,
        created=created,
        info=msgspec.json.decode(info),
        root=root.hex(),
        added=added,
        removed=removed,
        present=present,
    )


async def _change_nothing(session: VersionSession, version: NewVersion) -> None:
    await session.execute("discard_incomplete")
    last_sync = _encoded(version.this_sync(version.previous))
    if last_sync is not None:
        await session.execute("remember_sync", last_sync=last_sync)


def _encoded(details: Mapping[str, Any] | None) -> str | None:
    return None if details is None else msgspec.json.encode(details).decode()


async def _count_changes(session: VersionSession) -> tuple[int, int]:
    ((added, removed),) = await session.fetch("count_changes")
    return int(added), int(removed)
