"""Records of runs: when a sync of a repository began, and how it ended."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from flowsync.catalog.database import Database
from flowsync.model.errors import RepositoryNotFoundError
from flowsync.model.repository import RunState


class Runs:
    """The run records of one database; part of its `Catalog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, repository: str) -> UUID:
        """Record that a run of the repository begins and return the run's id. Raise `RepositoryNotFoundError` when there is no such repository."""
        row = await self._database.fetch_one("start_run", {"repository": repository})
        if row is None:
            raise RepositoryNotFoundError(f"no repository is named {repository!r}")
        run: UUID = row[0]
        return run

    async def finish(
        self, run: UUID, state: RunState, result: Mapping[str, Any] | None, error: str | None
    ) -> None:
        """Record how a run ended."""
        encoded = None if result is None else msgspec.json.encode(result).decode()
        await self._database.execute(
            "finish_run", {"run": run, "state": state, "result": encoded, "error": error}
        )
