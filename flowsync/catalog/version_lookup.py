"""Finding a complete version by its repository's name and its number, with errors that say which of the two is missing."""

from collections.abc import Sequence
from typing import Any

from flowsync.catalog.database import Database
from flowsync.model.errors import RepositoryNotFoundError, VersionNotFoundError
from flowsync.model.repository import RepositoryVersion


async def find_version(
    database: Database, name: str, number: int | None = None
) -> tuple[int, RepositoryVersion]:
    """Return a complete version, the latest unless a number is given, with its repository's id.

    Raise `RepositoryNotFoundError` or `VersionNotFoundError` when there is none.
    """
    row = await database.fetch_one("find_version", {"name": name, "number": number})
    if row is None:
        raise repository_not_found(name)
    if row[1] is None:
        which = "no complete version" if number is None else f"no complete version {number}"
        raise VersionNotFoundError(f"repository {name!r} has {which}")
    return row[0], _version(name, row)


async def find_versions(database: Database, name: str) -> list[RepositoryVersion]:
    """Return the complete versions of a repository by number. Raise `RepositoryNotFoundError` when there is no such repository."""
    rows = await database.fetch("find_versions", {"name": name})
    if not rows:
        raise repository_not_found(name)
    return [_version(name, row) for row in rows if row[1] is not None]


def repository_not_found(name: str) -> RepositoryNotFoundError:
    """Make the error of a name that no repository has."""
    return RepositoryNotFoundError(f"no repository is named {name!r}")


def _version(name: str, row: Sequence[Any]) -> RepositoryVersion:
    _, number, created, added, removed, present, info = row
    return RepositoryVersion(
        repository=name,
        number=number,
        created=created,
        added=added,
        removed=removed,
        present=present,
        info=info,
    )
