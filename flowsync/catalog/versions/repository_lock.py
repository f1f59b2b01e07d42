"""The lock of a repository: one at a time changes its versions, over all processes.

It is a session lock of PostgreSQL, held by a connection of its own. Waiting for it costs nothing
and can be cancelled. Who lost the connection lost the lock, and can write no more: whatever a
holder writes goes over that connection.

Whoever holds it tells clean-up so, by a second lock that all holders share, before anything is
looked up (`orphans.py`).

Decisions: docs/decisions/0002.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.sessions import Connection
from flowsync.errors import RepositoryBusyError

_SCRATCH: Final = (
    "create_seen",
    "create_base",
    "create_addition",
    "create_added_path",
    "create_shared_path",
)


@asynccontextmanager
async def locked_connection(
    database: Database, name: str, repository_id: int, *, wait: bool
) -> AsyncIterator[Connection]:
    """Lend a connection that holds the lock of a repository until the block ends, and has the
    scratch tables of a version (`new_version.sql`), empty.

    Raise `RepositoryBusyError` when somebody else has it and `wait` is false.
    """
    key = {"lock": database.locks.repositories, "repository": repository_id}
    entering = database.dedicated("enter_session", *_SCRATCH, leaving="empty_scratch")
    async with entering as connection:
        taking = "lock_repository" if wait else "try_lock_repository"
        cursor = await database.run(connection, taking, key)
        if await cursor.fetchone() != (True,):
            raise RepositoryBusyError(
                f"repository {name!r} is busy: another version of it is being made, or deleted"
            )
        yield connection
