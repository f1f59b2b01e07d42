"""Task groups whose first error comes out as itself, and whose tasks cannot end unnoticed.

1. `asyncio.TaskGroup` wraps every error in a group. A caller of a stage wants the error that
   happened first, as it was raised, so that `except TransferError` works; the others are attached
   to it as notes.
2. `asyncio.TaskGroup` takes a task out of which a `CancelledError` comes for one that was
   cancelled, and forgets it. Here that is a `StageAbortedError`, unless the task was cancelled:
   what the task had in hand would be lost.
3. `SystemExit` and `KeyboardInterrupt` come out as themselves once all tasks have ended, instead of
   breaking the loop off.

A level that others react to: set or clear, with callbacks on the change to set.

`batches()` reads the level to decide and is woken by the edge, so that a signal which stays set
never makes it spin.

A program that was asked to stop.

It stands on the ground floor, because all that takes care of foreign code must let it pass.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from traceback import clear_frames
from typing import Any, Final, TypeVar

from flowsync.errors import StageAbortedError

T = TypeVar("T")

STOPS: Final = (SystemExit, KeyboardInterrupt)
"""What a task would throw through its loop."""


class StoppedError(Exception):
    """Takes the place of one of `STOPS`, its cause, on the way out of a task."""


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a `TaskGroup`; raise its first error unwrapped. All its tasks have ended when the block
    has.
    """
    try:
        async with _WatchedGroup() as group:
            yield group
    except BaseExceptionGroup as failed:
        errors = leaves(failed)
        break_ring(failed, keep=errors)
    else:
        return
    try:
        raise _first_of(errors)
    finally:
        del errors


class _WatchedGroup(asyncio.TaskGroup):
    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        work = _watched(coro)
        try:
            task = super().create_task(work, name=name, context=context)
        except BaseException:
            work.close()
            coro.close()
            raise
        # A task that is cancelled before it has begun does not come to await it.
        task.add_done_callback(lambda _: coro.close())
        return task


async def _watched(work: Any) -> Any:
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise StageAbortedError(
            f"a CancelledError came out of a task that nobody had cancelled, {work.__qualname__}"
        ) from error
    except STOPS as stop:
        raise StoppedError from stop


def break_ring(group: BaseExceptionGroup[BaseException], *, keep: Sequence[BaseException]) -> None:
    """Let go of what the groups of nested `TaskGroup`s hold, except the errors to `keep`.

    The frame in which a `TaskGroup` raised stays in a ring with its error, in all Pythons up to
    3.13.0 at least. Until the garbage collector finds it, the ring keeps alive whatever the failed
    tasks had in hand, such as the bodies of all downloads.
    """
    for error in (group, *group.exceptions):
        if error not in keep:
            clear_frames(error.__traceback__)


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the errors of a group and of the groups inside it, in order."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def first_come(errors: Sequence[BaseException]) -> tuple[BaseException, list[BaseException]]:
    """Return the error that goes on, and the others: one of `STOPS` if there is any, or else the
    first.
    """
    stops = [error.__cause__ for error in errors if isinstance(error, StoppedError)]
    first = next((stop for stop in stops if stop is not None), errors[0])
    stood_for = [error for error in errors if isinstance(error, StoppedError)]
    others = [error for error in errors if error is not first and error not in stood_for]
    return first, others


def _first_of(errors: list[BaseException]) -> BaseException:
    first, others = first_come(errors)
    for other in others:
        first.add_note(f"then also: {other!r}")
    return first


class Signal:
    """One bit with an audience. Belongs to one loop; calls its subscribers synchronously, they must
    only wake someone.
    """

    __slots__ = ("_subscribers", "_value")

    def __init__(self) -> None:
        self._value = False
        self._subscribers: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        return self._value

    def set(self) -> None:
        """Raise the level and tell the subscribers, unless it is raised already."""
        if not self._value:
            self._value = True
            for wake in tuple(self._subscribers):
                wake()

    def clear(self) -> None:
        """Lower the level."""
        self._value = False

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever the level rises."""
        self._subscribers.append(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Stop calling `wake`."""
        self._subscribers.remove(wake)


class SignalReceivedError(BaseException):
    """The user or the system asked the program to stop, by the signal of that number.

    No `Exception`: what runs meanwhile, such as the import of a plugin, does not take it for a
    failure of its own.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
