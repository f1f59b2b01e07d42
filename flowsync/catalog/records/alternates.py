"""What belongs to an alternate source beside its record: the hidden repositories of what it lists,
and its remote.

1. Whoever drops something holds the locks of all hidden repositories of the source, taken in the
   order of their ids. So no refresh is under way meanwhile, whose sources are recorded before its
   version is complete.
2. Dropping is one transaction. Units and bytes stay: clean-up finds out whether anything else needs
   them.

Decisions: docs/decisions/0004.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.sessions import Connection
from flowsync.catalog.versions.repository_lock import locked_connection


class AlternateSources:
    """What is to be changed about alternate sources; any number of tasks may use it at once.

    `prefix` is how the names of a source's hidden repositories begin, and no other's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark_refreshed(self, name: str) -> None:
        """Note that the whole source was read just now."""
        await self._database.execute("mark_refreshed", {"name": name})

    async def forget_unlisted(self, remote: str, prefix: str, listed: Sequence[str]) -> int:
        """Drop the hidden repositories that are not `listed`, and what `remote` has beyond the
        units of the others; return how many sources went.
        """
        async with self._held(prefix) as (connection, repositories):
            kept = [number for name, number in repositories.items() if name in listed]
            gone = [number for name, number in repositories.items() if name not in listed]
            database = self._database
            await database.run(connection, "drop_repositories", {"repositories": gone})
            parameters = {"remote": remote, "repositories": kept}
            return (await database.run(connection, "drop_unlisted_sources", parameters)).rowcount

    async def remove(self, name: str, remote: str | None, prefix: str) -> None:
        """Drop a source, its hidden repositories, and its `remote` if that is its own."""
        async with self._held(prefix) as (connection, repositories):
            database = self._database
            await database.run(connection, "drop_alternate_source", {"name": name})
            numbers = {"repositories": list(repositories.values())}
            await database.run(connection, "drop_repositories", numbers)
            if remote is not None:
                await database.run(connection, "drop_remote", {"remote": remote})

    @asynccontextmanager
    async def _held(self, prefix: str) -> AsyncIterator[tuple[Connection, dict[str, int]]]:
        """Hold the locks of the hidden repositories and give a connection in a transaction, and
        their ids by name.
        """
        database = self._database
        rows = await database.fetch("repositories_beginning", {"prefix": prefix})
        async with AsyncExitStack() as locks:
            for number, name in rows:
                await locks.enter_async_context(
                    locked_connection(database, name, number, wait=True)
                )
            async with database.dedicated() as connection, connection.transaction():
                yield connection, {name: number for number, name in rows}
