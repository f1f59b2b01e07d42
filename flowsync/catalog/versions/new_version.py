"""A version in the making: what may be done to its membership before it is complete.

1. Every call is one or two statements, committed when it returns. A crash leaves an incomplete
   version, which is not seen, and which the next opening discards.
2. Only the net effect counts. A unit that is added and removed again leaves no row; one that is
   removed and added again keeps its old row.
3. What a sync has declared is kept in a temporary table of the connection, not in memory.

Also here: its opening, the rules that its units must keep, and the commit that completes it. The
parts share one session and one start, and run in one order.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.sessions import Connection
from flowsync.catalog.records.contents import by_key, key_columns
from flowsync.catalog.versions.entries import BATCH_SIZE, unfinished_content_ids
from flowsync.catalog.versions.versions import (
    RepositorySession,
    Start,
    VersionInfo,
    VersionSession,
    find_version,
    locked_connection,
    next_state,
    repository_not_found,
    retain_versions,
)
from flowsync.errors import (
    CatalogError,
    DisallowedContentError,
    DuplicateContentError,
    ImmutableVersionError,
    NotContentError,
    PlanOutdatedError,
    RepositoryNotFoundError,
    RepositoryVersionError,
)
from flowsync.model.content import CONTENT_ID_SIZE, EMPTY_STATE, Content, root_of
from flowsync.model.repository import Repository, RepositoryVersion
from flowsync.runtime.tasks import task_group

# What syncs of a repository saw of upstream item by item, over the session that holds the
# repository, so that nothing else writes it.
#
# What is written belongs to a generation. It counts from when the record of a sync
# (`repository.last_sync`) names that generation, which is when the sync is complete; a sync that
# died leaves rows of a generation that no record names, and the next one that writes removes them.


class UpstreamItems:
    """The items of one repository."""

    def __init__(self, session: RepositorySession) -> None:
        self._session = session

    async def recall(self, generation: int, names: Sequence[str] | None) -> dict[str, Any]:
        """Return what counts of the named items, or of all, up to a generation."""
        rows = await self._session.fetch(
            "recall_items",
            generation=generation,
            items=None if names is None else list(names),
        )
        return {item: msgspec.json.decode(seen) for item, seen in rows}

    async def discard(self, generation: int) -> None:
        """Remove what does not count in a generation; in generation 0 nothing does."""
        await self._session.execute("discard_items", generation=generation)

    async def remember(self, generation: int, items: Mapping[str, Any]) -> None:
        """Write what was seen of items, which is JSON; `None` forgets one."""
        await self._session.execute(
            "remember_items",
            generation=generation,
            items=list(items),
            seen=[
                None if seen is None else msgspec.json.encode(seen).decode()
                for seen in items.values()
            ],
        )


Pick = Callable[[Content, Sequence[tuple[bytes, bool]]], list[bytes]]
"""Says which of the stored units of its natural key a `Content` stands for; each comes with whether
its fields are the same.
"""


class NewVersion:
    """The next version of a repository, in the hands of its opener until the context ends.

    It starts as a copy of the latest version, or of a base. `number` is its own number, `previous`
    that of the latest complete version, which has `present_before` units. `info` is recorded with
    it and may be added to; what is no JSON is refused with a `DeclarationError`. When the context
    has ended well, `completed` is the version as it was recorded, or `None` when there was nothing
    to record. With an `expected_root` it is completed only with that root, and otherwise fails with
    a `PlanOutdatedError`.

    `last_sync` is what the last successful sync saw of upstream. `this_sync` is asked at the end,
    with the number at which the repository is left, what is to be remembered instead, if anything;
    it is written before another can have the repository.

    Several tasks may use it at once; their statements take turns. Methods that change it raise
    `ImmutableVersionError` after the context has ended. A unit is given as its id, or as a
    `Content`, which stands for what is stored with its natural key; anything else is a
    `NotContentError`, and units that the catalog does not know are ignored.
    """

    def __init__(
        self,
        session: VersionSession,
        *,
        repository: str,
        previous: int,
        present_before: int,
        last_sync: Any,
        info: Mapping[str, Any],
    ) -> None:
        self.repository = repository
        self.number = session.number
        self.previous = previous
        self.present_before = present_before
        self.info = info
        self.expected_root: str | None = None
        self.last_sync = last_sync
        self.this_sync: Callable[[int], Mapping[str, Any] | None] = lambda _: None
        self.completed: RepositoryVersion | None = None
        self._session = session
        self._ended = False

    @property
    def info(self) -> VersionInfo:
        """What is recorded with the version besides its units."""
        return self._info

    @info.setter
    def info(self, info: Mapping[str, Any]) -> None:
        self._info = VersionInfo(info)

    async def add_content(self, units: Iterable[bytes | Content]) -> int:
        """Add those units that are not in the version; return their number.

        Raise `DuplicateContentError` for a `Content` of whose natural key several units are stored,
        unless just one of them has its fields.
        """
        self._changeable()
        return len(await self.associate(await self._ids(units, _the_one), seen=False))

    async def remove_content(self, units: Iterable[bytes | Content]) -> int:
        """Remove those units that are in the version, all those of the natural key of a `Content`;
        return their number.
        """
        session = self._changeable()
        ids = await self._ids(units, _all)
        if not ids:
            return 0
        ((count,),) = await session.fetch("remove_content", ids=ids)
        return int(count)

    async def set_content(self, units: Iterable[bytes | Content]) -> None:
        """Make the version hold exactly these units. Raise as `add_content` does."""
        session = self._changeable()
        ids = await self._ids(units, _the_one)
        await session.execute("remove_others", ids=ids)
        await self.associate(ids, seen=False)

    async def associate(
        self, ids: Sequence[bytes], *, seen: bool, lines: Sequence[int | None] = ()
    ) -> set[bytes]:
        """Add those units that are not in the version; return the ids of what was added.

        With `seen`, remember all of `ids` as declared, for `remove_unseen` and for the end: of two
        declared units of one natural key, neither replaces the other. `lines`, as many as ids or
        none, are kept with what was added: where upstream's metadata lists it.
        """
        session = self._changeable()
        if not ids:
            return set()
        rows = await session.fetch("associate", ids=ids, lines=list(lines), seen=seen)
        return {added for (added,) in rows}

    async def remove_unseen(self) -> int:
        """Remove all units that were never given to `associate` with `seen`; return their
        number.
        """
        ((count,),) = await self._changeable().fetch("remove_unseen")
        return int(count)

    async def keep(self, keys: Sequence[bytes], repo_keys: Sequence[bytes | None]) -> None:
        """Let `remove_unseen` spare the units of the version that have one of these natural keys or
        repository keys.
        """
        await self._changeable().execute("keep_content", keys=keys, repo_keys=repo_keys)

    async def keep_groups(self, groups: Sequence[bytes]) -> set[bytes]:
        """Let `remove_unseen` spare the units of the version that are in one of these groups, by
        their ids; return the groups of which it has any.
        """
        rows = await self._changeable().fetch("keep_groups", groups=list(groups))
        return {group for (group,) in rows}

    @property
    def items(self) -> UpstreamItems:
        """What is remembered of upstream item by item, for the maker of the version."""
        return UpstreamItems(self._changeable())

    def content_ids(self, batch_size: int = BATCH_SIZE) -> AsyncGenerator[list[bytes], None]:
        """Yield the ids of the units that are in the version now, in order, at most `batch_size` at
        a time.
        """
        session = self._session
        return unfinished_content_ids(
            session.database, session.repository_id, self.number, batch_size
        )

    def end(self) -> None:
        """Refuse all further changes."""
        self._ended = True

    async def _ids(self, units: Iterable[bytes | Content], pick: Pick) -> list[bytes]:
        """Return the ids of the units in order; what stands for a `Content` is for `pick`
        to say.
        """
        given = [_checked(unit) for unit in units]
        contents = [unit for unit in given if isinstance(unit, Content)]
        if not contents:
            return [unit for unit in given if isinstance(unit, bytes)]
        rows = await self._session.fetch("units_of_keys", **key_columns(contents))
        found = iter(by_key(len(contents), rows))
        return [
            content_id
            for unit in given
            for content_id in ([unit] if isinstance(unit, bytes) else pick(unit, next(found)))
        ]

    def _changeable(self) -> VersionSession:
        if self._ended:
            raise ImmutableVersionError(
                f"version {self.number} of repository {self.repository!r} has ended and "
                "cannot be changed"
            )
        return self._session


def _checked(unit: object) -> bytes | Content:
    if isinstance(unit, Content):
        return unit
    if isinstance(unit, bytes) and len(unit) == CONTENT_ID_SIZE:
        return unit
    raise NotContentError(
        f"expected a content unit or its id of {CONTENT_ID_SIZE} bytes, found {unit!r}"
    )


def _all(_: Content, found: Sequence[tuple[bytes, bool]]) -> list[bytes]:
    return [content_id for content_id, _ in found]


def _the_one(unit: Content, found: Sequence[tuple[bytes, bool]]) -> list[bytes]:
    """Return the unit that is stored, or the one with the same fields if several are."""
    if len(found) < 2:
        return _all(unit, found)
    same = [content_id for content_id, is_same in found if is_same]
    if len(same) != 1:
        shown = ", ".join(content_id.hex() for content_id, _ in found)
        raise DuplicateContentError(
            f"{unit!r} does not say which of {len(found)} stored units of its natural key is "
            f"meant: {shown}"
        )
    return same


# The rules that the units of a version must keep, checked when it is about to be completed.
#
# 1. Of two units with the same natural key or the same repository key, the one that this version
#    adds replaces the one that was there; two that are both added are an error.
# 2. At one path there are, as far as is known, the same bytes, however many units share them; and
#    no path lies below another path. Bytes are the same when the artifact is, or when a digest is,
#    stored or declared by upstream; units whose bytes nothing is known of cannot share a path.
# 3. Added units are of the types that the repository allows. What a repository held before its
#    types were narrowed stays.
# 4. Only additions are looked at, against the whole: what was there together before goes on to be.
#    The cost follows the change.
#
# Additions are what the version has and its start has not, so that what is added on top of a base
# replaces what the base has. They are put into temporary tables: the planner would take the rows of
# a number it has never seen for a handful (`bench/catalog/bench_versions.py`). Large ones are
# analysed; of small ones their size on the disk tells it enough.
#
# The reasons stand in docs/decisions/0003.

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


# The completion of a version: the one commit that makes it visible, after its units have been found
# able to coexist (`Coexistence`).
#
# A version that neither adds nor removes anything is not completed. What is remembered of upstream
# is written all the same, over the session that holds the repository: the one that waited for it
# finds it. That nothing changes is looked at again after additions have replaced older units,
# because content that was added on top of a base may lead back to the latest version.
#
# The reasons stand in docs/decisions/0003.

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
    # What was put into it may have changed since.
    version.info.check()
    info = msgspec.json.encode(version.info.data).decode()
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


# Opening a version, and what becomes of it when its context ends.
#
# 1. One new version of a repository at a time, over all processes: the repository is locked
#    (`versions.py`) before anything is read.
# 2. What a dead process left unfinished is discarded by the next opening, which cannot begin a
#    version beside it. The lock tells dead from slow: who holds no lock has no connection to write
#    over.
# 3. The number is used up only by completion. A version that failed, was cancelled or changed
#    nothing leaves its number to the next one.
# 4. At the end, versions that the repository does not retain are deleted, also when no version was
#    made: the last time may have been prevented from it. Should that fail, the version that was
#    completed stays.
#
# The reasons stand in docs/decisions/0003.

_PATIENCE: Final = 1.0
"""Seconds that undoing an unfinished version may take before it is left to the next opening."""


@asynccontextmanager
async def open_version(
    database: Database,
    repository: Repository,
    *,
    wait: bool = True,
    base: tuple[str, int] | None = None,
    info: Mapping[str, Any],
) -> AsyncIterator[NewVersion]:
    """Open the next version of `repository`, which is created if need be; complete it when the
    block ends, discard it when an exception leaves it.

    The version starts with the units of the latest one, or of `base`, a version (name, number) of
    this or another repository.

    Raise `RepositoryBusyError` when another version is being made and `wait` is false,
    `RepositoryNotFoundError` or `VersionNotFoundError` when there is no such base, and at the end a
    `RepositoryVersionError` when the version's units cannot coexist.
    """
    repository_id, _ = await ensure_repository(database, repository)
    base_params = await _find_base(database, base)
    locked = locked_connection(database, repository.name, repository_id, wait=wait)
    async with locked as connection:
        begun = await _begin(database, connection, repository_id, base_params)
        if begun is None:
            raise RepositoryNotFoundError(
                f"repository {repository.name!r} was removed while a new version of it waited "
                "for its turn"
            )
        session, start, last_sync = begun
        version = NewVersion(
            session,
            repository=repository.name,
            previous=start.previous,
            present_before=start.present,
            last_sync=last_sync,
            info=info,
        )
        try:
            if base is not None:
                await _start_from_base(session, base, base_params)
            yield version
            version.end()
            version.completed = await complete(session, repository, start, version)
        except BaseException as error:
            version.end()
            await _discard(session, error)
            raise
        if repository.retain_versions is not None:
            await retain_versions(session)


async def ensure_repository(database: Database, repository: Repository) -> tuple[int, bool]:
    """Create the repository unless it exists, give it the settings of `repository` where they
    differ; return its id, and whether they did.
    """
    allowed = repository.allowed_types
    settings = {
        "name": repository.name,
        "allowed_types": None if allowed is None else sorted(allowed),
        "retain_versions": repository.retain_versions,
    }
    row = await database.fetch_one("find_repository", settings)
    if row is None:
        repository.check_new()
        empty = {"state": EMPTY_STATE, "root": root_of(EMPTY_STATE)}
        row = await database.fetch_one("create_repository", {**settings, **empty})
    # Another one may have created it in between.
    row = row or await database.fetch_one("find_repository", settings)
    if row is None:
        raise repository_not_found(repository.name)
    repository_id, *found = row
    differs = found != [settings["allowed_types"], settings["retain_versions"]]
    if differs:
        await database.execute("change_repository", settings)
    return int(repository_id), differs


async def _find_base(database: Database, base: tuple[str, int] | None) -> dict[str, int | None]:
    if base is None:
        return {"base_repository": None, "base_number": None}
    repository_id, version = await find_version(database, *base)
    return {"base_repository": repository_id, "base_number": version.number}


async def _start_from_base(
    session: VersionSession, base: tuple[str, int], base_params: Mapping[str, int | None]
) -> None:
    await session.execute("collect_base", **base_params)
    # Numbers are never used again: if the version is still there, it was when it was read.
    await find_version(session.database, *base)
    await session.execute("start_from_base")


async def _begin(
    database: Database,
    connection: Connection,
    repository_id: int,
    base_params: Mapping[str, int | None],
) -> tuple[VersionSession, Start, Any] | None:
    unnumbered = RepositorySession(database, connection, repository_id)
    rows = await unnumbered.fetch("open_version", **base_params)
    if not rows:
        await unnumbered.execute("discard_incomplete")
        rows = await unnumbered.fetch("open_version", **base_params)
    if not rows:
        return None
    ((number, previous, present, root_state, last_sync),) = rows
    session = VersionSession(database, connection, repository_id, number)
    start = Start(previous=previous, present=present, root_state=root_state, **base_params)
    return session, start, last_sync


async def _discard(session: VersionSession, error: BaseException) -> None:
    """Undo the version after `error`; if that cannot be done now, the next opening will do it."""
    try:
        async with asyncio.timeout(_PATIENCE):
            await session.execute("discard_incomplete")
    except (CatalogError, TimeoutError) as failure:
        error.add_note(
            f"version {session.number} is left to be discarded by the next opening: "
            f"{str(failure) or 'it took too long'}"
        )
