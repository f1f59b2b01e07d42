"""Waiting until all that a stage has put is settled: stored, or left out.

Memory holds the items that are under way, whose number the channels bound, and those that were left
out. The last item is awaited first: what releases its batches releases those of the others.

Cancelling what goes on although it was cancelled, again and again, until it has ended.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Any, Final

from flowsync.errors import ItemDroppedError
from flowsync.pipeline.resolution import Resolvable

_LOOKED_AT: Final = 4096
"""Items from which those that are settled are forgotten."""


class Settling:
    """The items that a stage put since it began to look at them. `left_out` are those that failed
    and whose sync went on; whole once the stage has waited.
    """

    def __init__(self) -> None:
        self.left_out: list[Any] = []
        self._under_way: list[Resolvable] = []
        self._limit = _LOOKED_AT

    def add(self, items: Sequence[Any]) -> None:
        """Look at items from now on."""
        self._under_way += [item for item in items if isinstance(item, Resolvable)]
        if len(self._under_way) >= self._limit:
            self._forget_settled()
            self._limit = max(_LOOKED_AT, 2 * len(self._under_way))

    async def wait(self) -> None:
        """Wait until all items are settled. Raise `ItemDroppedError` when one will never be."""
        for item in reversed(self._under_way):
            if not (item.resolved or item.failed):
                await _settled(item)
        self._forget_settled()

    def _forget_settled(self) -> None:
        self.left_out += [item for item in self._under_way if item.failed]
        self._under_way = [item for item in self._under_way if not (item.resolved or item.failed)]


async def _settled(item: Resolvable) -> None:
    try:
        # Not what a subclass makes of it: a failure is known before it is decided what it means.
        await Resolvable.resolution(item)
    except ItemDroppedError:
        raise
    except Exception:  # noqa: BLE001 - it was left out, which is to be settled too
        return


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
