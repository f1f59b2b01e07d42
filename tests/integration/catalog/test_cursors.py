"""Cursors that read what may be large."""

import asyncio
from typing import Any

import pytest

from flowsync.catalog.postgres.database import Database, server_cursor


async def test_reader_that_is_cancelled_at_its_end_leaves_no_cursor_open(
    database: Database,
) -> None:
    """The symptom was a warning about a cursor that was deleted while still open, when a check
    failed beside the reading of a root.
    """
    opened: list[Any] = []

    async def read() -> None:
        async with server_cursor(database, "ids_added", {"repository": 1, "number": 1}) as cursor:
            opened.append(cursor)
            assert await cursor.fetchmany(10) == []
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(read())

    assert [cursor.closed for cursor in opened] == [True]
