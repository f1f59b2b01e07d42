"""Where everything of an engine is, how large it is, and what repositories there are."""

from datetime import datetime

import msgspec

from flowsync.engine.engine import Engine
from flowsync.engine.operations import ends_with_engine
from flowsync.model.repository import RepositoryVersion


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
        store=str(engine.home / "store"),
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
