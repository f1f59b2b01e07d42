"""Cancelling what goes on although it was cancelled, again and again, until it has ended."""

import asyncio
import logging
from collections.abc import Collection
from typing import Any, Final

_log = logging.getLogger(__name__)

INSIST: Final = 10.0
"""Seconds after which a task that goes on although it was cancelled is cancelled again: more than a
clean-up takes.
"""


async def insist(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait until all `tasks`, which were cancelled, have ended; cancel again what goes on."""
    while running := [task for task in tasks if not task.done()]:
        await asyncio.wait(running, timeout=INSIST)
        for task in running:
            if not task.done():
                name = task.get_name()
                _log.warning("%s goes on although it was cancelled: cancelling it again", name)
                task.cancel()
