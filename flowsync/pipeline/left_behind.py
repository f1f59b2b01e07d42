"""Tasks that a stage leaves behind: begun by it, still going on when it has returned, and able to
put.

1. Who began a task is told by its context, which tasks, timers and threads of asyncio hand on. A
   task of other code that merely knows the stage is none of its own.
2. What a task can do is told by what its frames hold: the stage itself, one of its methods, or a
   closure, a `partial` or a list with one of these in it. Of a task that holds none of
   them, such as one that keeps a pool of connections, nothing is lost.
3. It is looked for once, when a stage returns; nothing is written down for an item.

Items that could not be handed on: the one record of them, which pipeline, channels and stages
share.

A task that puts an item may be one that nobody awaits, so raising there is not enough. What is
noted here fails the pipeline, or, after its end, the completion of the version that it made.
"""

import asyncio
import gc
from collections.abc import Iterable, Iterator
from contextvars import Context, ContextVar
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final

from flowsync.errors import PipelineError, StageEndedEarlyError

_began_by: ContextVar[object] = ContextVar("flowsync_began_by")

_DEPTH: Final = 4
"""How far from a frame a stage is looked for: a list of partials of methods, and one more."""

_MANY: Final = 100
"""A longer list is one of items."""


class Beginner:
    """Marks all that is begun, from now on, by the task that makes it and by what that begins."""

    __slots__ = ("__weakref__",)

    def __init__(self) -> None:
        _began_by.set(self)

    def left_behind(self, stage: object, own: Iterable[asyncio.Task[Any]] = ()) -> list[str]:
        """Return the names of the tasks that go on and hold `stage`, except `own` and the task
        that asks. One that was cancelled, and has not ended yet, does not go on.
        """
        return sorted(
            _name(task)
            for task in asyncio.all_tasks().difference(own, [asyncio.current_task()])
            if self._began(task) and not task.cancelling() and _task_holds(task, stage)
        )

    def expect_nothing_left(self, stage: object, own: Iterable[asyncio.Task[Any]]) -> None:
        """Raise `StageEndedEarlyError` if `stage`, which has returned, left a task behind."""
        left = self.left_behind(stage, own)
        if left:
            raise StageEndedEarlyError(
                f"stage {stage} returned and left behind what still goes on: "
                f"{', '.join(left[:3])}; "
                "what that puts would be lost: await your tasks, or use a TaskGroup"
            )

    def _began(self, task: asyncio.Task[Any]) -> bool:
        context = _context(task)
        return context is not None and context.get(_began_by) is self


def _context(task: asyncio.Task[Any]) -> Context | None:
    if hasattr(task, "get_context"):
        found = task.get_context()
        return found if isinstance(found, Context) else None
    # Python 3.11 does not tell. The task's own context comes before those of its callbacks.
    held = gc.get_referents(task)
    return next((one for one in held if isinstance(one, Context)), None)


def _name(task: asyncio.Task[Any]) -> str:
    work = getattr(task.get_coro(), "__qualname__", None)
    return task.get_name() if work is None else f"{task.get_name()} ({work})"


def _task_holds(task: asyncio.Task[Any], stage: object) -> bool:
    return any(
        _holds(value, stage, _DEPTH) for values in _frames(task.get_coro()) for value in values
    )


def _frames(work: Any) -> Iterator[list[Any]]:
    """Yield what the frames hold of a coroutine and of those that it awaits."""
    while work is not None:
        frame = getattr(work, "cr_frame", None) or getattr(work, "gi_frame", None)
        if frame is not None:
            yield list(frame.f_locals.values())
        work = getattr(work, "cr_await", None) or getattr(work, "gi_yieldfrom", None)


def _holds(value: Any, stage: object, depth: int) -> bool:
    if value is stage:
        return True
    return depth > 0 and any(_holds(part, stage, depth - 1) for part in _parts(value))


def _parts(value: Any) -> Iterator[Any]:
    """Yield what can be reached from a value in one step, if it is of a kind that wraps others."""
    if isinstance(value, MethodType):
        yield value.__self__
        yield value.__func__
    elif isinstance(value, FunctionType):
        yield from _closed_over(value)
    elif isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, list | tuple | set | frozenset):
        if len(value) <= _MANY:
            yield from value
    elif isinstance(value, dict):
        if len(value) <= _MANY:
            yield from value.values()
    elif hasattr(value, "cr_frame"):
        for values in _frames(value):
            yield from values


def _closed_over(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            # A name that has no value yet.
            continue


class Losses:
    """The first error of an item that could not be handed on. Made by a pipeline, which it
    outlives.
    """

    __slots__ = ("error", "told")

    def __init__(self) -> None:
        self.error: PipelineError | None = None
        self.told = asyncio.Event()

    def note(self, error: PipelineError) -> PipelineError:
        """Keep `error`, if it is the first, tell the pipeline, and return it."""
        if self.error is None:
            self.error = error
            self.told.set()
        return error
