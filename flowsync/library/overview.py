"""Where everything of an engine is, how large it is, and what repositories there are."""

from collections.abc import AsyncGenerator
from datetime import datetime

import msgspec

from flowsync.engine.engine import Engine
from flowsync.engine.operations import ends_with_engine
from flowsync.model.reports import Run
from flowsync.model.repository import LeftOut, RepositoryVersion


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine works on. Sizes are bytes.

    `database` says in words which one it is, without a password. `oldest_verification` is when the
    bytes were verified that were verified longest ago, `never_verified` counts the artifacts that
    never were. `latest` has the latest version of each repository, by name.
    """

    home: str
    database: str
    database_bytes: int
    store: str
    blobs: int
    blob_bytes: int
    oldest_verification: datetime | None
    never_verified: int
    latest: tuple[RepositoryVersion, ...]


@ends_with_engine
async def status(engine: Engine) -> Status:
    """Return where home, database and store are, and how large. The cost grows with the number of
    blobs. Raise `EngineClosedError`, and `StoreError` when the store cannot be read.
    """
    usage = await engine.store.usage()
    oldest, never = await engine.catalog.verification.oldest()
    return Status(
        home=str(engine.home),
        database=_database(engine),
        database_bytes=await engine.catalog.database.size(),
        store=engine.store.name,
        blobs=usage.blobs,
        blob_bytes=usage.bytes,
        oldest_verification=oldest,
        never_verified=never,
        latest=tuple(await engine.catalog.repositories.latest_versions()),
    )


def _database(engine: Engine) -> str:
    if engine.embedded is None:
        return engine.catalog.database.shown
    return f"embedded PostgreSQL {engine.embedded.version} in {engine.embedded.data_folder}"


# The records of syncs: how far each came, how it ended, and what it left out.


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
