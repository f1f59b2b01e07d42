"""Removing a whole repository: its versions, its runs, and what it remembers of upstream.

1. It is done under the repository's lock, in one transaction: no sync is under way, and none
   begins.
2. A protected version protects its repository.
3. Units, artifacts and blobs stay. Clean-up removes those that no other repository needs.
"""

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.lookup import repository_not_found
from flowsync.catalog.versions.repository_lock import locked_connection
from flowsync.catalog.versions.session import RepositorySession
from flowsync.errors import VersionKeptError
from flowsync.model.repository import HIDDEN
from flowsync.model.upkeep import RemovalReport


async def measure_removal(database: Database, name: str) -> tuple[int, RemovalReport]:
    """Return the id of a repository, and what would go with it. Raise `RepositoryNotFoundError`
    when there is none.
    """
    # What alternate sources list goes with them.
    row = (
        None
        if name.startswith(HIDDEN)
        else await database.fetch_one("measure_repository", {"name": name})
    )
    if row is None:
        raise repository_not_found(name)
    repository_id, versions, protected, units, runs = row
    report = RemovalReport(
        repository=name, versions=versions, protected=protected, units=units, runs=runs
    )
    return repository_id, report


async def remove_repository(database: Database, name: str, *, wait: bool = True) -> RemovalReport:
    """Remove a repository and return what went with it.

    Raise `VersionKeptError` when a version of it is protected, `RepositoryBusyError` when a version
    is being made and `wait` is false, `RepositoryNotFoundError` when there is no such repository.
    """
    repository_id, _ = await measure_removal(database, name)
    async with locked_connection(database, name, repository_id, wait=wait) as connection:
        session = RepositorySession(database, connection, repository_id)
        _, report = await measure_removal(database, name)
        async with session.transaction():
            protected = await session.fetch("lock_protected")
            if protected:
                ((number,),) = protected
                raise VersionKeptError(
                    f"repository {name!r} cannot be removed: its version {number} is "
                    "protected; unprotect it first"
                )
            await session.execute("drop_repository")
    return report
