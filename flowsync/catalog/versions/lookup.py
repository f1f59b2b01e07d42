"""Finding a complete version by its repository's name and its number, with errors that say which of
the two is missing.
"""

from collections.abc import Sequence
from typing import Any, Final

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.roots import add_missing_roots
from flowsync.errors import RepositoryNotFoundError, VersionNotFoundError
from flowsync.model.repository import RepositoryVersion

LARGEST_NUMBER: Final = 2**31 - 1
"""No version and no run has a larger number."""


async def find_version(
    database: Database, name: str, number: int | None = None
) -> tuple[int, RepositoryVersion]:
    """Return a complete version, the latest unless a number is given, with its repository's id.

    Raise `RepositoryNotFoundError` or `VersionNotFoundError` when there is none.
    """
    if number is not None and not 0 <= number <= LARGEST_NUMBER:
        _, latest = await find_version(database, name)
        raise version_not_found(name, number, latest.number)
    params = {"name": name, "number": number}
    row = await database.fetch_one("find_version", params)
    if row is not None and _lacks_root(row):
        await add_missing_roots(database, row[0])
        row = await database.fetch_one("find_version", params)
    if row is None:
        raise repository_not_found(name)
    if row[1] is None:
        if number is None:
            raise VersionNotFoundError(f"repository {name!r} has no complete version")
        _, latest = await find_version(database, name)
        raise version_not_found(name, number, latest.number)
    return row[0], _version(name, row)


async def find_versions(database: Database, name: str) -> list[RepositoryVersion]:
    """Return the complete versions of a repository by number. Raise `RepositoryNotFoundError` when
    there is no such repository.
    """
    rows = await database.fetch("find_versions", {"name": name})
    if any(map(_lacks_root, rows)):
        await add_missing_roots(database, rows[0][0])
        rows = await database.fetch("find_versions", {"name": name})
    if not rows:
        raise repository_not_found(name)
    return [_version(name, row) for row in rows if row[1] is not None]


async def find_latest_versions(database: Database) -> list[RepositoryVersion]:
    """Return the latest complete version of every repository but the hidden ones, by name."""
    rows = await database.fetch("latest_versions")
    lacking = [row[1] for row in rows if _lacks_root(row[1:])]
    if lacking:
        for repository_id in lacking:
            await add_missing_roots(database, repository_id)
        rows = await database.fetch("latest_versions")
    return [_version(name, row) for name, *row in rows]


def repository_not_found(name: str) -> RepositoryNotFoundError:
    """Make the error of a name that no repository has."""
    return RepositoryNotFoundError(f"no repository is named {name!r}")


def version_not_found(name: str, number: int, latest: int) -> VersionNotFoundError:
    """Make the error of a number that no complete version of a repository has."""
    return VersionNotFoundError(
        f"repository {name!r} has no complete version {number}; its latest is {latest}"
    )


def _lacks_root(row: Sequence[Any]) -> bool:
    """Say whether the row of a version is one that an older flowsync made."""
    return row[1] is not None and row[-1] is None


def _version(name: str, row: Sequence[Any]) -> RepositoryVersion:
    _, number, created, added, removed, present, info, protected, root = row
    return RepositoryVersion(
        repository=name,
        number=number,
        created=created,
        added=added,
        removed=removed,
        present=present,
        info=info,
        protected=protected,
        root=root.hex(),
    )
