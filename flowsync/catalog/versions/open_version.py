"""Opening a version, and what becomes of it when its context ends.

1. One new version of a repository at a time, over all processes: the repository is locked
   (`delete_version.py`) before anything is read.
2. What a dead process left unfinished is discarded by the next opening, which cannot begin a
   version beside it. The lock tells dead from slow: who holds no lock has no connection to write
   over.
3. The number is used up only by completion. A version that failed, was cancelled or changed nothing
   leaves its number to the next one.
4. At the end, versions that the repository does not retain are deleted, also when no version was
   made: the last time may have been prevented from it. Should that fail, the version that was
   completed stays.

Decisions: docs/decisions/0003.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.sessions import Connection
from flowsync.catalog.versions.complete_version import complete
from flowsync.catalog.versions.delete_version import locked_connection, retain_versions
from flowsync.catalog.versions.lookup import find_version, repository_not_found
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.catalog.versions.session import RepositorySession, Start, VersionSession
from flowsync.errors import CatalogError, RepositoryNotFoundError
from flowsync.model.content_set import EMPTY_STATE, root_of
from flowsync.model.repository import Repository

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
