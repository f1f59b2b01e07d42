"""The session in which a version is made: the connection that holds the repository's lock, and what is written over it."""

from typing import Any

import msgspec

from flowsync.catalog.database import Connection, Database


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What a version starts from: the latest version, `previous`, with its `present` units, or the base, by repository id and number."""

    previous: int
    present: int
    base_repository: int | None = None
    base_number: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the version starts without any unit."""
        return self.base_number is None and not self.present

    def base_params(self) -> dict[str, int | None]:
        """Return the base as parameters of statements."""
        return {"base_repository": self.base_repository, "base_number": self.base_number}


class VersionSession:
    """The one connection over which the membership of a version in the making is read and written; made by `opening.py`, closed with the version.

    The lock belongs to the connection, so a process that lost it, to a broken network or a restarted server, cannot write either. The statements get
    the version's `repository` (an id) and `number` as parameters besides their own.
    """

    def __init__(
        self, database: Database, connection: Connection, repository_id: int, number: int
    ) -> None:
        self.database = database
        self.repository_id = repository_id
        self.number = number
        self._connection = connection

    async def fetch(self, name: str, **params: Any) -> list[tuple[Any, ...]]:
        """Run a named statement and return its rows."""
        bound = {"repository": self.repository_id, "number": self.number, **params}
        cursor = await self.database.run(self._connection, name, bound)
        return await cursor.fetchall() if cursor.description else []

    async def execute(self, name: str, **params: Any) -> int:
        """Run a named statement and return how many rows it touched."""
        bound = {"repository": self.repository_id, "number": self.number, **params}
        cursor = await self.database.run(self._connection, name, bound)
        return cursor.rowcount
