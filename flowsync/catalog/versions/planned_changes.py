"""What a sync would change, worked out on the side: nothing that others could see is written.

1. The stream is kept in temporary tables of a session of its own, so memory does not grow with it,
   and what was planned goes with the tables.
2. The base, what is added and removed, and the root of the outcome are read in one snapshot. Who
   makes a version meanwhile changes the truth, not the plan; the planned sync then finds another
   base.
3. Additions, removals and replacements are those of a version in the making (`new_version.py`,
   `new_version.py`). Whether all units can coexist is looked at only by the sync itself.

Decisions: docs/decisions/0003.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from flowsync.catalog.postgres.database import Database, column
from flowsync.catalog.versions.new_version import UpstreamItems
from flowsync.catalog.versions.versions import Listed, RepositorySession, find_version, state_after
from flowsync.errors import RepositoryNotFoundError
from flowsync.model.content import EMPTY_STATE, root_of

_TABLES: Final = (
    "create_foreseen",
    "create_foreseen_download",
    "create_foreseen_gain",
    "create_foreseen_loss",
)
_NOBODY: Final = -1
"""The id of a repository that does not exist yet."""


class PlannedUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A unit of the stream. `size` is the bytes of its artifacts as far as known; a `bare` one has
    none.
    """

    content_id: bytes
    key_id: bytes
    repo_key: bytes | None
    size: int
    bare: bool


class PlannedDownload(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that would be fetched. Those with one `digest` are fetched once."""

    digest: str | None
    size: int | None


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """What a version starts from: the latest version, or nothing where the repository does not
    exist yet; and what the last sync saw of upstream.
    """

    number: int
    present: int
    root: bytes
    state: bytes
    last_sync: Any = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What would change from `base` to content with `root`. `unseen` of the removed units are not
    in the stream; the others are replaced.
    """

    base: Base
    root: bytes
    added: int
    added_bytes: int
    added_bare: int
    removed: int
    removed_bytes: int
    removed_bare: int
    unseen: int
    downloads: int
    download_bytes: int
    downloads_unsized: int


class Planning:
    """One plan in the making, in the hands of its opener."""

    def __init__(self, session: RepositorySession) -> None:
        self._session = session

    async def collect(
        self, units: Sequence[PlannedUnit], downloads: Sequence[PlannedDownload]
    ) -> None:
        """Keep a batch of the stream, in one statement."""
        await self._session.execute(
            "collect_foreseen",
            ids=[unit.content_id for unit in units],
            keys=column(None if unit.key_id == unit.content_id else unit.key_id for unit in units),
            repo_keys=[unit.repo_key for unit in units],
            sizes=[unit.size for unit in units],
            bare=[unit.bare for unit in units],
            digests=[download.digest for download in downloads],
            download_sizes=[download.size for download in downloads],
        )

    async def keep(self, keys: Sequence[bytes], repo_keys: Sequence[bytes | None]) -> None:
        """Count those units of the latest version as seen that have one of these natural or
        repository keys, as `NewVersion.keep` does.
        """
        await self._session.execute("keep_foreseen", keys=keys, repo_keys=repo_keys)

    async def keep_groups(self, groups: Sequence[bytes]) -> set[bytes]:
        """Count the units of the latest version as seen that are in one of these groups, as
        `NewVersion.keep_groups` does.
        """
        rows = await self._session.fetch("keep_foreseen_groups", groups=list(groups))
        return {group for (group,) in rows}

    @property
    def items(self) -> UpstreamItems:
        """What is remembered of upstream item by item."""
        return UpstreamItems(self._session)

    async def base(self) -> Base:
        """Return the version that a sync would start from now."""
        rows = await self._session.fetch("plan_base")
        if not rows:
            return Base(number=0, present=0, root=root_of(EMPTY_STATE), state=EMPTY_STATE)
        ((number, present, root, state, last_sync),) = rows
        return Base(number=number, present=present, root=root, state=state, last_sync=last_sync)

    async def difference(self, *, mirror: bool) -> Difference:
        """Return what the stream changes, as a mirror or as an addition. To be called once, after
        all of it was collected.
        """
        session = self._session
        await session.execute("analyze_foreseen")
        async with session.transaction():
            await session.execute("plan_snapshot")
            base = await self.base()
            await session.execute("plan_gain", number=base.number)
            await session.execute("analyze_foreseen_gain")
            unseen = await session.execute("plan_unseen", number=base.number) if mirror else 0
            await session.execute("plan_replaced", number=base.number)
            ((added, added_bytes, added_bare, removed, *others),) = await session.fetch(
                "plan_counts"
            )
            state = await state_after(
                session,
                base.state,
                Listed("foreseen_gain_ids", added),
                Listed("foreseen_loss_ids", removed),
            )
        removed_bytes, removed_bare, count, size, unsized = others
        return Difference(
            base=base,
            root=root_of(state),
            added=added,
            added_bytes=added_bytes,
            added_bare=added_bare,
            removed=removed,
            removed_bytes=removed_bytes,
            removed_bare=removed_bare,
            unseen=unseen,
            downloads=count,
            download_bytes=size,
            downloads_unsized=unsized,
        )


@asynccontextmanager
async def open_planning(database: Database, repository: str) -> AsyncIterator[Planning]:
    """Open a plan for a repository, which need not exist; it is forgotten when the block ends."""
    try:
        # It gives versions of an older flowsync their roots, too.
        repository_id, _ = await find_version(database, repository)
    except RepositoryNotFoundError:
        repository_id = _NOBODY
    async with database.dedicated("enter_session", *_TABLES) as connection:
        yield Planning(RepositorySession(database, connection, repository_id))
