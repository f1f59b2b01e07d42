"""Which items a task waits for, itself or through tasks that it waits for in turn.

It is found by looking at the coroutines of the task, when nothing moves any more: an item that was
never put is known to no pipeline, and who awaits it can be told in no other way. Nothing is written
down while things go well.
"""

import asyncio
import gc
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterator
from types import CoroutineType
from typing import Any, Final

from flowsync.pipeline.resolution import Resolvable

_FOLLOWED: Final = (asyncio.Future, asyncio.TaskGroup, Coroutine, Generator, AsyncGenerator)
_LISTS: Final = (list, tuple, set, frozenset, dict)


def awaited_items(task: asyncio.Task[Any]) -> list[Resolvable]:
    """Return the items whose `resolution()` the task waits for, or a task that it holds."""
    found: dict[int, Resolvable] = {}
    seen: set[int] = set()
    ahead: list[Any] = [task]
    while ahead:
        one = ahead.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        item = _awaited_by(one)
        if item is None:
            ahead.extend(_beyond(one))
        else:
            found[id(item)] = item
    return list(found.values())


def _awaited_by(one: object) -> Resolvable | None:
    if isinstance(one, CoroutineType) and one.cr_code is Resolvable.resolution.__code__:
        item = None if one.cr_frame is None else one.cr_frame.f_locals.get("self")
        return item if isinstance(item, Resolvable) else None
    return None


def _beyond(one: Any) -> Iterator[Any]:
    """Yield what `one` waits for or holds: awaitables, and those in its lists."""
    if isinstance(one, asyncio.Task):
        yield one.get_coro()
        return
    for held in gc.get_referents(one):
        yield from _awaitables(held)
    if isinstance(one, asyncio.TaskGroup):
        yield from _awaitables(vars(one))


def _awaitables(held: Any, depth: int = 2) -> Iterator[Any]:
    """Yield `held`, or those in it: `gather` keeps its tasks in a list in a dict."""
    if isinstance(held, _FOLLOWED):
        yield held
    elif isinstance(held, _LISTS) and depth:
        for each in held.values() if isinstance(held, dict) else held:
            yield from _awaitables(each, depth - 1)
