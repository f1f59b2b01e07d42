"""Waiting until somebody waits: how a test knows that a statement has come to a lock."""

import asyncio
from typing import Final

from flowsync.catalog.postgres.database import Database

_WAITERS: Final = b"""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def lock_waiters(database: Database, count: int, within: float = 20.0) -> None:
    """Return when so many sessions of the database wait for a lock. Raise `TimeoutError` when they
    do not come.
    """
    async with asyncio.timeout(within), database.connection() as connection:
        while await (await connection.execute(_WAITERS)).fetchone() != (count,):  # noqa: ASYNC110 - another process's event
            await asyncio.sleep(0.005)
