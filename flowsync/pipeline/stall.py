"""When a pipeline can never move again: its stages wait for each other, while an item is awaited
that none of them can bring.

Decisions: docs/decisions/0006.
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from flowsync.pipeline.channel import Channel
from flowsync.pipeline.resolution import Resolvable, Waiting, awaited_items, describe
from flowsync.pipeline.stage import Stage


class Standstill:
    """What is looked at of one running pipeline. The lists are the pipeline's own; `tasks` runs the
    stages.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        channels: Sequence[Channel[Any]],
        tasks: Sequence[asyncio.Task[None]],
        waiting: Waiting,
    ) -> None:
        self._stages = stages
        self._channels = channels
        self._tasks = tasks
        self._waiting = waiting

    def stall(self) -> str | None:
        """Say which items are awaited in vain by a pipeline in which nothing moves; `None` when
        something may still move.
        """
        running = self._running()
        if any(self._stages[number]._busy for number in running):
            return None
        awaited = {number: awaited_items(self._tasks[number]) for number in running}
        strays = _each_once(
            item for items in awaited.values() for item in items if not item.was_put
        )
        known = self._waiting.items()
        if not known and not strays:
            return None
        waiters = self._waiting.tasks()
        for number in running:
            waits = self._tasks[number] in waiters or awaited[number]
            if not (waits or self._stands_still(number)):
                return None
        return "; ".join(
            f"someone awaits {describe(items, partial(self._named, awaited))}, {why}"
            for items, why in (
                (known, "which a stage dropped without calling resolve(), or holds while it waits"),
                (strays, "which was never put"),
            )
            if items
        )

    def is_idle(self) -> bool:
        """Say whether no stage works on what it has, as far as can be known; of the first stage
        nothing is.
        """
        return all(
            self._stages[number]._busy or self._stands_still(number) for number in self._running()
        )

    def _running(self) -> list[int]:
        return [number for number, task in enumerate(self._tasks) if not task.done()]

    def _stands_still(self, number: int) -> bool:
        if number == 0 or self._channels[number - 1].receiver_waits:
            return True
        return number < len(self._channels) and self._channels[number].sender_waits

    def _named(self, awaited: dict[int, list[Resolvable]], item: Resolvable) -> str:
        stages = [
            str(self._stages[number])
            for number, items in awaited.items()
            if any(other is item for other in items)
        ]
        return f"{item} (in stage {', '.join(stages)})" if stages else str(item)


def _each_once(items: Iterable[Resolvable]) -> list[Resolvable]:
    return list({id(item): item for item in items}.values())
