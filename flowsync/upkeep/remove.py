"""Removing what was recorded and is not wanted any more: whole repositories, and the records of old
runs.

Without `apply`, both only say what would go.
"""

from datetime import timedelta

import msgspec

from flowsync.catalog.upkeep.removal import measure_removal
from flowsync.catalog.upkeep.removal import remove_repository as remove_recorded
from flowsync.engine.engine import Engine
from flowsync.model.upkeep import RemovalReport


async def remove_repository(
    engine: Engine, name: str, *, apply: bool = False, wait: bool = True
) -> RemovalReport:
    """Say what goes with a repository, and with `apply` remove it: versions, runs, all that it
    remembers.

    Bytes that no other repository needs are then what `prune` removes. Raise
    `RepositoryNotFoundError` when there is no such repository, `VersionKeptError` when a version of
    it is protected, and `RepositoryBusyError` when a version is being made and `wait` is false.
    """
    database = engine.catalog.database
    if not apply:
        _, report = await measure_removal(database, name)
        return report
    report = await remove_recorded(database, name, wait=wait)
    return msgspec.structs.replace(report, applied=True)


async def remove_runs(
    engine: Engine, *, older_than: timedelta, repository: str | None = None, apply: bool = False
) -> int:
    """Count the records of runs that ended longer ago than `older_than`, of a repository or of all,
    and with `apply` remove them.

    Of each repository the last run stays, and the last that went well. Raise
    `RepositoryNotFoundError` when there is no such repository.
    """
    return await engine.catalog.runs.remove(older_than, repository, apply=apply)
