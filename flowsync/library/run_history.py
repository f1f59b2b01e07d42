"""The records of syncs: how far each came, how it ended, and what it left out."""

from collections.abc import AsyncGenerator

from flowsync.engine.engine import Engine
from flowsync.engine.operations import ends_with_engine
from flowsync.model.repository import LeftOut
from flowsync.model.run_record import Run


@ends_with_engine
async def runs(engine: Engine, repository: str | None = None, limit: int = 20) -> list[Run]:
    """Return the newest runs, newest first, of one repository or of all, at most `limit`. Raise
    `RepositoryNotFoundError` when there is no such repository.
    """
    return await engine.catalog.runs.newest(repository, limit)


@ends_with_engine
async def run(engine: Engine, number: int, repository: str | None = None) -> Run:
    """Return the run of that number. Raise `RunNotFoundError` when there is none, or it is of
    another repository than is named.
    """
    return await engine.catalog.runs.run(number, repository)


def left_out(engine: Engine, number: int) -> AsyncGenerator[list[LeftOut], None]:
    """Yield what a run left out, in the order in which it gave it up, in batches; nothing for a run
    that does not exist. Raise `EngineClosedError` at once when the engine is not open.
    """
    engine.operations.expect_open()
    return engine.catalog.runs.left_out(number)
