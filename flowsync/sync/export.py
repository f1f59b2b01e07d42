"""Writes a version out as a folder of files."""

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path

from flowsync.engine.engine import Engine
from flowsync.engine.operations import ends_with_engine
from flowsync.engine.version_reader import VersionReading
from flowsync.errors import ExportError, FlowsyncError
from flowsync.kinds import SourceKind
from flowsync.layout import ExportedFile, VersionReader
from flowsync.model.repository import RepositoryVersion, VersionEntry
from flowsync.store.export.folder_export import Entry, ExportReport, Write, export_tree


@ends_with_engine
async def export_version(
    engine: Engine,
    repository: str,
    folder: str | os.PathLike[str],
    number: int | None = None,
    *,
    kinds: Sequence[SourceKind] = (),
) -> tuple[RepositoryVersion, ExportReport]:
    """Write version `number` of the repository, by default the latest, out as `folder`, and say
    which version and how much it was.

    Files are hard links to the store where possible and copies otherwise; the folder appears whole,
    in one step. What is copied from a store without local files is compared with its digest. Of
    `kinds`, those that the version is of say what else it needs for a plain server of files
    (`Layout.exported`).

    Raise `RepositoryNotFoundError`, `VersionNotFoundError`, or `ExportError` when the folder holds
    anything but an earlier export or has no name, when bytes of the version were never fetched or
    cannot be read, when what a kind makes fails, or when it is version 0, which stands for a
    repository without any.
    """
    if not os.fspath(folder):
        raise ExportError(f"cannot export {repository!r}: the folder has no name")
    version = await engine.catalog.repositories.version(repository, number)
    if version.number == 0:
        raise ExportError(f"cannot export {repository!r}: it has no complete version yet")
    marker = {
        "repository": repository,
        "version": version.number,
        "created": version.created.isoformat(),
        "units": version.present,
    }
    # Closed also when the export fails half-way: with them, the connection over which they come.
    async with aclosing(_entries(engine, version)) as entries:
        beside = partial(_write_beside, engine, version, kinds)
        return version, await export_tree(engine.store, entries, Path(folder), marker, beside)


async def _write_beside(
    engine: Engine, version: RepositoryVersion, kinds: Sequence[SourceKind], write: Write
) -> None:
    """Write what kinds make of the version, in a thread."""
    catalog = engine.catalog
    for kind in kinds:
        make = kind.layout.exported
        if make is None:
            continue
        served = await catalog.serving.version(version.repository, version.number, None)
        if not await catalog.units.are_held(served, kind.layout.types):
            continue
        reading = VersionReading(catalog.units, served)
        with ThreadPoolExecutor(max_workers=1) as thread:
            try:
                await reading.run(thread, partial(_write_all, make, write))
            except FlowsyncError:
                raise
            except Exception as error:
                raise ExportError(
                    f"cannot export version {version.number} of {version.repository!r}: what "
                    f"source {kind.name!r} makes of it fails: {error!r}"
                ) from error


def _write_all(
    make: Callable[[VersionReader], Iterable[ExportedFile]], write: Write, reader: VersionReader
) -> None:
    for path, body in make(reader):
        write(path, (body,) if isinstance(body, bytes) else body)


async def _entries(engine: Engine, version: RepositoryVersion) -> AsyncGenerator[list[Entry], None]:
    repositories = engine.catalog.repositories
    async with aclosing(repositories.entries(version.repository, version.number)) as batches:
        async for batch in batches:
            yield [(entry.relative_path, _blob_name(version, entry)) for entry in batch]


def _blob_name(version: RepositoryVersion, entry: VersionEntry) -> str:
    if not entry.stored or entry.blake3 is None:
        raise ExportError(
            f"cannot export version {version.number} of {version.repository!r}: "
            f"{entry.relative_path!r} was never fetched; "
            "sync with the policy 'immediate' first"
        )
    return entry.blake3
