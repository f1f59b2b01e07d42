"""Reading what may be large in batches, so that memory does not grow with it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncServerCursor

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.postgres.sessions import Connection
from flowsync.catalog.postgres.statements import statement
from flowsync.runtime.threads import finished


@asynccontextmanager
async def opened(
    connection: Connection, name: str, params: Mapping[str, Any]
) -> AsyncIterator[AsyncServerCursor[tuple[Any, ...]]]:
    """Open a server-side cursor on what a named statement gives, in the transaction that runs."""
    cursor = connection.cursor("rows", binary=True)
    try:
        await cursor.execute(statement(name), params)
        yield cursor
    finally:
        # A cursor whose closing is cancelled would stay open.
        await finished(asyncio.ensure_future(cursor.close()))


@asynccontextmanager
async def server_cursor(
    database: Database, name: str, params: Mapping[str, Any]
) -> AsyncIterator[AsyncServerCursor[tuple[Any, ...]]]:
    """Open a server-side cursor on a connection of its own: a consumer as slow as an export must
    not keep a pooled one.

    What it reads is what was committed when the block begins.
    """
    async with database.dedicated() as connection, connection.transaction():
        # All rows will be read; by default the planner would optimise for the first tenth.
        await connection.execute("SET LOCAL cursor_tuple_fraction = 1")
        async with opened(connection, name, params) as cursor:
            yield cursor
