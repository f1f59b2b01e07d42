"""Opening a version, and what becomes of it when its context ends.

1. One new version of a repository at a time, over all processes: a session lock of PostgreSQL is taken on the repository before anything is
   read. Waiting for it costs nothing and can be cancelled.
2. What a dead process left unfinished is discarded by the next opening. The lock tells dead from slow: who holds no lock has no connection
   to write over.
3. Whoever makes a version tells clean-up so, by a shared lock, before anything is looked up (`orphans.py`).
4. The number is used up only by completion. A version that failed, was cancelled or changed nothing leaves its number to the next one.

Decided: cleaning up after an error or a cancellation has a second, and is not shielded from another cancellation, because rule 2 makes it a
courtesy; who cancels a large sync does not want to wait until its rows are undone.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from flowsync.catalog.completion import complete
from flowsync.catalog.database import Connection, Database
from flowsync.catalog.new_version import NewVersion
from flowsync.catalog.version_lookup import find_version, repository_not_found
from flowsync.catalog.version_session import Start, VersionSession
from flowsync.model.errors import CatalogError, RepositoryBusyError
from flowsync.model.repository import Repository

LOCK_CLASS: Final = 0x666C6F77
"""First number of the advisory locks of repositories ("flow" in ASCII); the second is the repository's id, or 0 for the lock that
all versions in the making share."""

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
    """Open the next version of `repository`, which is created if need be; complete it when the block ends, discard it when an exception leaves it.

    The version starts with the units of the latest one, or of `base`, a version (name, number) of this or another repository.

    Raise `RepositoryBusyError` when another version is being made and `wait` is false, `RepositoryNotFoundError` or `VersionNotFoundError`
    when there is no such base, and at the end a `RepositoryVersionError` when the version's units cannot coexist.
    """
    repository_id = await ensure_repository(database, repository)
    base_params = await _find_base(database, base)
    async with (
        database.dedicated() as connection,
        _locked(database, connection, repository.name, repository_id, wait=wait),
    ):
        session, start = await _begin(database, connection, repository_id, base_params)
        version = NewVersion(
            session,
            repository=repository.name,
            previous=start.previous,
            present_before=start.present,
            info=info,
        )
        try:
            if base is not None:
                await session.execute("start_from_base", **base_params)
            yield version
            version.end()
            version.completed = await complete(session, repository, start, version.info)
        except BaseException as error:
            version.end()
            await _discard(session, error)
            raise


async def ensure_repository(database: Database, repository: Repository) -> int:
    """Create the repository unless it exists, give it the settings of `repository` where they differ, and return its id."""
    allowed = repository.allowed_types
    settings = {
        "name": repository.name,
        "allowed_types": None if allowed is None else sorted(allowed),
        "retain_versions": repository.retain_versions,
    }
    row = await database.fetch_one("find_repository", settings)
    if row is None:
        await database.execute("create_repository", settings)
        row = await database.fetch_one("find_repository", settings)
    if row is None:
        raise repository_not_found(repository.name)
    repository_id, *found = row
    if found != [settings["allowed_types"], settings["retain_versions"]]:
        await database.execute("change_repository", settings)
    return int(repository_id)


async def _find_base(database: Database, base: tuple[str, int] | None) -> dict[str, int | None]:
    if base is None:
        return {"base_repository": None, "base_number": None}
    repository_id, version = await find_version(database, *base)
    return {"base_repository": repository_id, "base_number": version.number}


@asynccontextmanager
async def _locked(
    database: Database, connection: Connection, name: str, repository_id: int, *, wait: bool
) -> AsyncIterator[None]:
    key = {"lock": LOCK_CLASS, "repository": repository_id}
    await database.run(connection, "enter_session")
    taking = "lock_repository" if wait else "try_lock_repository"
    cursor = await database.run(connection, taking, key)
    if await cursor.fetchone() != (True,):
        raise RepositoryBusyError(
            f"repository {name!r} is busy: another version of it is being made"
        )
    try:
        await database.run(connection, "begin_use", key)
        yield
    finally:
        # Closing the connection gives the lock back too, but only when the server notices; whoever comes next must not find it taken.
        with suppress(CatalogError):
            await database.run(connection, "unlock_repository", key)


async def _begin(
    database: Database,
    connection: Connection,
    repository_id: int,
    base_params: Mapping[str, int | None],
) -> tuple[VersionSession, Start]:
    params = {"repository": repository_id, **base_params}
    await database.run(connection, "discard_incomplete", params)
    cursor = await database.run(connection, "open_version", params)
    ((number, previous, present),) = await cursor.fetchall()
    session = VersionSession(database, connection, repository_id, number)
    await session.execute("create_seen")
    return session, Start(previous=previous, present=present, **base_params)


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
