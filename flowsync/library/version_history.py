"""Repositories and their versions: what there is, and what is done with a whole version.

Every function takes an open engine. It raises `EngineClosedError` when the engine is not open or is
closed meanwhile, `RepositoryNotFoundError` when no repository has the name, and
`VersionNotFoundError` when no complete version has the number. The name of a hidden repository is
found, and not listed.

Also here: what versions hold, and how two of them differ.
"""

from collections.abc import AsyncGenerator, Sequence

from flowsync.catalog.queries import version_units as explaining
from flowsync.engine.engine import Engine
from flowsync.engine.operations import ends_with_engine
from flowsync.errors import DeclarationError
from flowsync.model.reports import Explanation
from flowsync.model.repository import (
    BareChange,
    BareUnit,
    Change,
    Repository,
    RepositoryVersion,
    UnitFields,
    VersionEntry,
)


@ends_with_engine
async def repository_names(engine: Engine) -> list[str]:
    """Return the names of all repositories in order. Raise `EngineClosedError`."""
    return await engine.catalog.repositories.names()


@ends_with_engine
async def repository(engine: Engine, name: str) -> Repository:
    """Return a repository with the settings that are recorded of it. Raise
    `RepositoryNotFoundError`.
    """
    return await engine.catalog.repositories.repository(name)


@ends_with_engine
async def ensure_repository(engine: Engine, repository: Repository) -> None:
    """Create the repository unless it exists, and give it the settings of `repository`.

    When it is to retain fewer versions than before, the surplus is deleted, after waiting for the
    sync that holds the repository. Raise `DeclarationError` for a name that cannot be served.
    """
    await engine.catalog.repositories.ensure(repository)


@ends_with_engine
async def latest_versions(engine: Engine) -> list[RepositoryVersion]:
    """Return the latest version of every repository, in the order of their names; that of a
    repository without any sync is the empty version 0. One query. Raise `EngineClosedError`.
    """
    return await engine.catalog.repositories.latest_versions()


@ends_with_engine
async def versions(engine: Engine, name: str) -> list[RepositoryVersion]:
    """Return the complete versions of a repository, oldest first. Raise
    `RepositoryNotFoundError`.
    """
    return await engine.catalog.repositories.versions(name)


@ends_with_engine
async def version(engine: Engine, name: str, number: int | None = None) -> RepositoryVersion:
    """Return a complete version, the latest unless a number is given. Raise
    `RepositoryNotFoundError` or `VersionNotFoundError`.
    """
    return await engine.catalog.repositories.version(name, number)


async def roll_back(
    engine: Engine, name: str, number: int, *, wait: bool = True
) -> RepositoryVersion | None:
    """Make a new version that holds what version `number` holds; return `None`, and make none, when
    the latest version holds that already.

    The next sync brings the repository forward again. Raise `RepositoryNotFoundError`,
    `VersionNotFoundError`, and `RepositoryBusyError` when something else makes or deletes a version
    of the repository and `wait` is false.
    """
    async with engine.operations.endable() as operation:
        # Once the last step has begun, closing the engine waits for it.
        return await engine.catalog.repositories.roll_back(
            name, number, wait=wait, settle=operation.settle
        )


async def promote(
    engine: Engine, source: str, target: str, *, number: int | None = None, wait: bool = True
) -> RepositoryVersion | None:
    """Make a new version of repository `target` that holds what version `number` of `source` holds,
    the latest unless a number is given; return `None`, and make none, when the latest version of
    `target` holds that already. No upstream is asked, and no byte moves.

    A `target` that does not exist is made. Its next sync brings it forward to its own upstream.
    Raise `DeclarationError` for one repository as both or a `target` that cannot be a name,
    `RepositoryNotFoundError`, `VersionNotFoundError`, `DisallowedContentError` when `target` does
    not allow a type of `source`, and `RepositoryBusyError` when something else makes or deletes a
    version of `target` and `wait` is false.
    """
    if source == target:
        raise DeclarationError(
            f"{source!r} cannot be promoted to itself; roll it back to one of its versions instead"
        )
    async with engine.operations.endable() as operation:
        return await engine.catalog.repositories.promote(
            source, number, target, wait=wait, settle=operation.settle
        )


@ends_with_engine
async def delete_version(
    engine: Engine, name: str, number: int, *, wait: bool = True
) -> RepositoryVersion | None:
    """Delete a version, for good, and return the one that tells its changes from now on; `None`
    when it was the newest.

    All other versions keep exactly what they hold, and the number is never used again. Raise
    `RepositoryNotFoundError`, `VersionNotFoundError`, `VersionKeptError` when it is protected or
    the only one, and `RepositoryBusyError` when something else makes or deletes a version of the
    repository and `wait` is false.
    """
    return await engine.catalog.repositories.delete_version(name, number, wait=wait)


@ends_with_engine
async def protect_version(engine: Engine, name: str, number: int) -> None:
    """Keep a version from being deleted, by hand and by `retain_versions`, which does not count it
    either. Raise `RepositoryNotFoundError` or `VersionNotFoundError`.
    """
    await engine.catalog.repositories.protect_version(name, number, protected=True)


@ends_with_engine
async def unprotect_version(engine: Engine, name: str, number: int) -> None:
    """Let a version be deleted again, by hand, or by `retain_versions` with the next version. Raise
    `RepositoryNotFoundError` or `VersionNotFoundError`.
    """
    await engine.catalog.repositories.protect_version(name, number, protected=False)


# What versions hold, how two of them differ, and why a path is in one or is not.
#
# What may be large comes in batches, in lists of at most some thousand, so that memory does not
# grow with the version; an empty batch never comes. Close an iterator that is left early
# (`contextlib.aclosing`): until then it holds a connection. An iterator raises what is said of it
# with its first batch, but `EngineClosedError` at once, when the engine is not open.


def entries(
    engine: Engine, name: str, number: int | None = None, pattern: str | None = None
) -> AsyncGenerator[list[VersionEntry], None]:
    """Yield the entries of a version, by default the latest, in order of path, in batches.

    `pattern` is a glob for the whole path, as `fnmatch.fnmatchcase` takes it. Raise
    `RepositoryNotFoundError` or `VersionNotFoundError`.
    """
    engine.operations.expect_open()
    return engine.catalog.repositories.entries(name, number, pattern)


def bare_units(
    engine: Engine, name: str, number: int | None = None
) -> AsyncGenerator[list[BareUnit], None]:
    """Yield the units without files of a version, by default the latest, which `entries` lacks, by
    type and id, in batches. Raise `RepositoryNotFoundError` or `VersionNotFoundError`.
    """
    engine.operations.expect_open()
    return engine.catalog.repositories.bare_units(name, number)


@ends_with_engine
async def unit_fields(engine: Engine, content_ids: Sequence[bytes]) -> list[UnitFields]:
    """Return type and fields of units, such as those of a batch of entries, in the order of their
    ids; units that are not known are left out. One query. Raise `EngineClosedError`.
    """
    return await engine.catalog.repositories.unit_fields(content_ids)


def difference(
    engine: Engine, name: str, before: int, after: int
) -> AsyncGenerator[list[Change], None]:
    """Yield what leads from version `before` to version `after`, which may be the older one, in
    order of path, in batches. Raise `RepositoryNotFoundError` or `VersionNotFoundError`.
    """
    engine.operations.expect_open()
    return engine.catalog.repositories.difference(name, before, after)


def bare_difference(
    engine: Engine, name: str, before: int, after: int
) -> AsyncGenerator[list[BareChange], None]:
    """Yield the units without files in which two versions differ, which `difference` lacks, by type
    and id, in batches. Raise `RepositoryNotFoundError` or `VersionNotFoundError`.
    """
    engine.operations.expect_open()
    return engine.catalog.repositories.bare_difference(name, before, after)


@ends_with_engine
async def explain(engine: Engine, name: str, path: str, number: int | None = None) -> Explanation:
    """Say why a version, by default the latest, has a path or lacks it: which version, run, source
    or failure decided it.

    In place of a path, the id of a unit without files can be asked for, in hexadecimal. Raise
    `RepositoryNotFoundError` or `VersionNotFoundError`.
    """
    return await explaining.explain(engine.catalog.database, name, path, number)
