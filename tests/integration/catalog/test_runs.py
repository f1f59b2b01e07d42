"""The records of runs."""

from uuid import uuid4

import pytest

from flowsync.catalog.database import Database
from flowsync.catalog.repositories import Repositories
from flowsync.catalog.runs import Runs
from flowsync.model.errors import RepositoryNotFoundError
from flowsync.model.repository import Repository


async def records(database: Database) -> list[tuple[object, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT id, state, ended_at >= started_at, result, error FROM run ORDER BY started_at"
        )
        return await cursor.fetchall()


async def test_run_is_recorded_from_start_to_end(
    database: Database, repositories: Repositories
) -> None:
    await repositories.ensure(Repository(name="r"))
    runs = Runs(database)

    good = await runs.start("r")
    bad = await runs.start("r")
    assert await records(database) == [
        (good, "running", None, None, None),
        (bad, "running", None, None, None),
    ]

    await runs.finish(good, "completed", {"added": 3}, None)
    await runs.finish(bad, "failed", None, "upstream burnt down")
    assert await records(database) == [
        (good, "completed", True, {"added": 3}, None),
        (bad, "failed", True, None, "upstream burnt down"),
    ]


async def test_run_of_an_unknown_repository_is_an_error(database: Database) -> None:
    with pytest.raises(RepositoryNotFoundError, match="no repository is named 'nowhere'"):
        await Runs(database).start("nowhere")


async def test_finishing_an_unknown_run_does_nothing(database: Database) -> None:
    await Runs(database).finish(uuid4(), "completed", {}, None)

    assert await records(database) == []
