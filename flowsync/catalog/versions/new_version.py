"""A version in the making: what may be done to its membership before it is complete.

1. Every call is one or two statements, committed when it returns. A crash leaves an incomplete
   version, which nobody sees and the next opening discards.
2. Only the net effect counts. A unit that is added and removed again leaves no row; one that is
   removed and added again keeps its old row.
3. What a sync has declared is kept in a temporary table of the connection, not in memory.

What syncs of a repository saw of upstream item by item, over the session that holds the
repository, so that nobody else writes it.

What is written belongs to a generation. It counts from when the record of a sync
(`repository.last_sync`) names that generation, which is when the sync is complete; a sync that died
leaves rows of a generation that no record names, and the next one that writes removes them.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from flowsync.catalog.records.contents import by_key, key_columns
from flowsync.catalog.versions.entries import BATCH_SIZE, unfinished_content_ids
from flowsync.catalog.versions.session import RepositorySession, VersionSession
from flowsync.errors import (
    DuplicateContentError,
    ImmutableVersionError,
    NotContentError,
)
from flowsync.model.content import CONTENT_ID_SIZE, Content
from flowsync.model.repository import RepositoryVersion


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
    """The next version of a repository, in the hands of whoever opened it until the context ends.

    It starts as a copy of the latest version, or of a base. `number` is its own number, `previous`
    that of the latest complete version, which has `present_before` units. `info` is recorded with
    it and may be added to. When the context has ended well, `completed` is the version as it was
    recorded, or `None` when there was nothing to record. With an `expected_root` it is completed
    only with that root, and otherwise fails with a `PlanOutdatedError`.

    `last_sync` is what the last successful sync saw of upstream. `this_sync` is asked at the end,
    with the number at which the repository is left, what is to be remembered instead, if anything;
    it is written before anybody else can have the repository.

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
        self.info = dict(info)
        self.expected_root: str | None = None
        self.last_sync = last_sync
        self.this_sync: Callable[[int], Mapping[str, Any] | None] = lambda _: None
        self.completed: RepositoryVersion | None = None
        self._session = session
        self._ended = False

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
        """What is remembered of upstream item by item, for whoever makes the version."""
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
