"""Reading what may be large in batches, so that memory does not grow with it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncServerCursor

from flowsync.catalog.database import Database
from flowsync.catalog.statements import statement


@asynccontextmanager
async def server_cursor(
    database: Database, name: str, params: Mapping[str, Any]
) -> AsyncIterator[AsyncServerCursor[tuple[Any, ...]]]:
    """Open a server-side cursor on a connection of its own: a consumer as slow as an export must not keep a pooled one.

    What it reads is what was committed when the block begins.
    """
    async with database.dedicated() as connection, connection.transaction():
        # All rows will be read; by default the planner would optimise for the first tenth.
        await connection.execute("SET LOCAL cursor_tuple_fraction = 1")
        async with connection.cursor("rows", binary=True) as cursor:
            await cursor.execute(statement(name), params)
            yield cursor
