"""What versions hold, how two of them differ, and why a path is in one or is not.

What may be large comes in batches, in lists of at most some thousand, so that memory does not grow
with the version; an empty batch never comes. Close an iterator that is left early
(`contextlib.aclosing`): until then it holds a connection. An iterator raises what is said of it
with its first batch, but `EngineClosedError` at once, when the engine is not open.
"""

from collections.abc import AsyncGenerator, Sequence

from flowsync.catalog.queries import explain as explaining
from flowsync.engine.engine import Engine
from flowsync.engine.operations import ends_with_engine
from flowsync.model.explanation import Explanation
from flowsync.model.repository import BareChange, BareUnit, Change, UnitFields, VersionEntry


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
