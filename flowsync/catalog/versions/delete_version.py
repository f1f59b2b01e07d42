"""Deleting versions, one by one or those that a repository does not retain.

1. Every other version keeps exactly its units, and with them its root. What a deleted version added
   or removed is told by the next one from then on, which is counted anew; what the newest ones
   added goes, and what they removed comes back.
2. The last complete version cannot be deleted, nor can one that is protected. Retention leaves
   protected ones alone and does not count them.
3. All is one transaction under the repository's lock, for any number of versions at once: the cost
   follows the rows of the units that they changed.
4. A number is never used again, also when the newest version is deleted. So a sync that remembers
   the version it led to cannot take another one for it, and is not skipped as long as the latest
   version is any other (`stages/upstream.py`).

With numbers mapped to the next kept one, a row [added, removed) holds for just the kept versions
that it held for before. What is left to do: rows that became empty vanish, and rows of one unit
that now touch become one, or the unit would count as removed and added in one version.

The lock of a repository: one at a time changes its versions, over all processes.

It is a session lock of PostgreSQL, held by a connection of its own. Waiting for it costs nothing
and can be cancelled. Who lost the connection lost the lock, and can write no more: whatever a
holder writes goes over that connection.

Whoever holds it tells clean-up so, by a second lock that all holders share, before anything is
looked up (`orphans.py`).

Decisions: docs/decisions/0002.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.sessions import Connection
from flowsync.catalog.versions.lookup import (
    RepositorySession,
    find_version,
    repository_not_found,
    version_not_found,
)
from flowsync.errors import RepositoryBusyError, VersionKeptError
from flowsync.model.repository import RepositoryVersion

_SCRATCH: Final = (
    "create_seen",
    "create_base",
    "create_addition",
    "create_added_path",
    "create_shared_path",
)


@asynccontextmanager
async def locked_connection(
    database: Database, name: str, repository_id: int, *, wait: bool
) -> AsyncIterator[Connection]:
    """Lend a connection that holds the lock of a repository until the block ends, and has the
    scratch tables of a version (`new_version.sql`), empty.

    Raise `RepositoryBusyError` when somebody else has it and `wait` is false.
    """
    key = {"lock": database.locks.repositories, "repository": repository_id}
    entering = database.dedicated("enter_session", *_SCRATCH, leaving="empty_scratch")
    async with entering as connection:
        taking = "lock_repository" if wait else "try_lock_repository"
        cursor = await database.run(connection, taking, key)
        if await cursor.fetchone() != (True,):
            raise RepositoryBusyError(
                f"repository {name!r} is busy: another version of it is being made, or deleted"
            )
        yield connection


class Squash(msgspec.Struct, frozen=True):
    """Which versions go, in order, and the kept version that tells the changes of each from then
    on; `None` behind the last kept one.
    """

    deleted: list[int]
    successors: list[int | None]


def plan_squash(complete: Sequence[int], deleted: set[int]) -> Squash:
    """Return how `deleted` ones of the `complete` versions of a repository, given in order, give
    way.
    """
    plan = Squash([], [])
    successor: int | None = None
    for number in reversed(complete):
        if number in deleted:
            plan.deleted.append(number)
            plan.successors.append(successor)
        else:
            successor = number
    return plan


def plan_retention(complete: Sequence[tuple[int, bool]], retain: int) -> Squash:
    """Return the squash that leaves the newest `retain` versions and the protected ones, given all
    with their protection in order.
    """
    unprotected = [number for number, protected in complete if not protected]
    return plan_squash([number for number, _ in complete], set(unprotected[:-retain]))


async def delete_version(
    database: Database, name: str, number: int, *, wait: bool
) -> RepositoryVersion | None:
    """Delete a complete version; return the one that tells its changes now, `None` when it was the
    newest.

    Raise `VersionKeptError` when it is protected or the only one, `RepositoryBusyError` when a
    version is being made and `wait` is false, `RepositoryNotFoundError` or `VersionNotFoundError`
    when there is no such version.
    """
    repository_id, _ = await find_version(database, name, number)
    async with locked_connection(database, name, repository_id, wait=wait) as connection:
        session = RepositorySession(database, connection, repository_id)
        await session.execute("discard_incomplete")
        async with session.transaction():
            versions = dict(await session.fetch("lock_versions"))
            _check_deletable(name, number, versions)
            plan = plan_squash(list(versions), {number})
            await _squash(session, plan)
        (successor,) = plan.successors
        if successor is None:
            return None
        _, version = await find_version(database, name, successor)
        return version


def _check_deletable(name: str, number: int, versions: Mapping[int, bool]) -> None:
    """Raise the error of what speaks against deleting a version, given all complete ones in order
    with their protection.
    """
    if not versions:
        # The whole repository was removed while we waited for the lock.
        raise repository_not_found(name)
    if number not in versions:
        # It was there before we waited for the lock.
        raise version_not_found(name, number, max(versions))
    if versions[number]:
        raise VersionKeptError(
            f"version {number} of repository {name!r} is protected from deletion; unprotect "
            "it first"
        )
    if len(versions) == 1:
        raise VersionKeptError(
            f"version {number} is the only one of repository {name!r}, and the last cannot be "
            "deleted"
        )


async def retain_versions(session: RepositorySession) -> None:
    """Delete the versions that the repository has beyond those it retains; one query when there are
    none.
    """
    rows = await session.fetch("surplus")
    if not rows:
        return
    ((retain,),) = rows
    async with session.transaction():
        versions = await session.fetch("lock_versions")
        await _squash(session, plan_retention(versions, retain))


async def _squash(session: RepositorySession, plan: Squash) -> None:
    if not plan.deleted:
        return
    pairs = {"deleted": plan.deleted, "successors": plan.successors}
    await session.execute("create_squash")
    await session.execute("collect_squash", **pairs)
    await session.execute("analyze_squash")
    await session.execute("drop_squashed")
    await session.execute("move_squashed")
    await session.execute("recount_versions", **pairs)
    await session.execute("drop_versions", **pairs)
