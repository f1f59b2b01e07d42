"""The session in which versions are made or deleted: the connection that holds the repository's
lock, and what is written over it.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
from psycopg import AsyncServerCursor

from flowsync.catalog.postgres.database import Database, opened, server_cursor
from flowsync.catalog.postgres.sessions import Connection


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What a version starts from: the latest version, `previous`, with its `present` units, or the
    base, by repository id and number.

    `root_state` is that of the latest version; `None` when an older flowsync made it.
    """

    previous: int
    present: int
    root_state: bytes | None
    base_repository: int | None = None
    base_number: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the version starts without any unit."""
        return self.base_number is None and not self.present


class RepositorySession:
    """The one connection over which the versions of a repository are changed; made by whoever took
    the lock (`delete_version.py`), and of no use after it.

    The statements get the id of the `repository` as a parameter besides their own.
    """

    def __init__(self, database: Database, connection: Connection, repository_id: int) -> None:
        self.database = database
        self.repository_id = repository_id
        self._connection = connection
        self._bound = {"repository": repository_id}

    async def fetch(self, name: str, **params: Any) -> list[tuple[Any, ...]]:
        """Run a named statement and return its rows."""
        cursor = await self.database.run(self._connection, name, {**self._bound, **params})
        return await cursor.fetchall() if cursor.description else []

    async def execute(self, name: str, **params: Any) -> int:
        """Run a named statement and return how many rows it touched."""
        cursor = await self.database.run(self._connection, name, {**self._bound, **params})
        return cursor.rowcount

    @asynccontextmanager
    async def cursor(
        self, name: str, **params: Any
    ) -> AsyncIterator[AsyncServerCursor[tuple[Any, ...]]]:
        """Open a server-side cursor on what a named statement gives, in a transaction of
        its own.
        """
        async with self.transaction():
            self.database.round_trips += 1
            async with opened(self._connection, name, {**self._bound, **params}) as cursor:
                yield cursor

    def cursor_beside(
        self, name: str
    ) -> AbstractAsyncContextManager[AsyncServerCursor[tuple[Any, ...]]]:
        """Open the like over a connection of its own, to be read while statements of the session
        run; it sees what they had written before.
        """
        self.database.round_trips += 3
        return server_cursor(self.database, name, self._bound)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Let the statements of the block be committed together, or not at all when an exception
        leaves it.
        """
        self.database.round_trips += 2
        async with self._connection.transaction():
            yield


class VersionSession(RepositorySession):
    """The session in which the membership of a version in the making is read and written.

    The statements get its `number` as a parameter too.
    """

    def __init__(
        self, database: Database, connection: Connection, repository_id: int, number: int
    ) -> None:
        super().__init__(database, connection, repository_id)
        self.number = number
        self._bound["number"] = number
