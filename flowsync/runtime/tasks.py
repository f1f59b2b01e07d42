"""Task groups whose first error comes out as itself, and whose tasks cannot end unnoticed.

1. `asyncio.TaskGroup` wraps every error in a group. A caller of a stage wants the error that
   happened first, as it was raised, so that `except TransferError` works; the others are attached
   to it as notes.
2. `asyncio.TaskGroup` takes a task out of which a `CancelledError` comes for one that was
   cancelled, and forgets it. Here that is a `StageAbortedError`, unless the task was cancelled:
   what the task had in hand would be lost.
3. `SystemExit` and `KeyboardInterrupt` come out as themselves once all tasks have ended, instead of
   breaking the loop off.

Also here: a level that others react to, visits that closing ends, and the way into threads. All of
them are about a task and its end.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from traceback import clear_frames
from types import TracebackType
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


# A level that others react to: set or clear, with callbacks on the change to set.
#
# `batches()` reads the level to decide and is woken by the edge, so that a signal which stays set
# never makes it spin.


class Signal:
    """One bit with an audience. Belongs to one loop; calls its subscribers synchronously, they must
    only wake a task.
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


# Tasks at work in something that can be closed under them: closing ends their work there with an
# error that says so.
#
# A task that waits inside is cancelled, and its cancellation turns into the error where its visit
# ends; a cancellation from elsewhere goes through.

PATIENCE: Final = 5.0
"""Seconds that closing waits for those who are inside: they have only to let go."""


class Visits:
    """The visits to one thing, used from one loop. `error` makes what ends them."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        self.error = error
        self.closed = False
        self.going: set[Visit] = set()
        self._left = asyncio.Event()

    def visit(self) -> "Visit":
        """Return a context for work inside. Entering it raises the error when all is closed."""
        return Visit(self)

    async def close(self) -> None:
        """End all visits, refuse others, and wait for a while until those inside are out."""
        self.closed = True
        for visit in self.going:
            visit.end()
        try:
            async with asyncio.timeout(PATIENCE):
                while self.going:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            return

    def forget(self, task: asyncio.Task[Any] | None) -> None:
        """Take note that `task` waits elsewhere, whatever it left open inside, such as an iterator
        that it did not close.
        """
        for visit in [visit for visit in self.going if visit.is_of(task)]:
            visit.forget()
            self.leave(visit)

    def leave(self, visit: "Visit") -> None:
        self.going.discard(visit)
        if self.closed:
            self._left.set()


class Visit:
    """One task's work inside, made by `Visits`."""

    __slots__ = ("_cancellations", "_ended", "_task", "_visits")

    def __init__(self, visits: Visits) -> None:
        self._visits = visits
        self._task: asyncio.Task[Any] | None = None
        self._cancellations = 0
        self._ended = False

    def end(self) -> None:
        """Cancel the task, once."""
        if self._task is not None and not self._ended:
            self._ended = True
            self._task.cancel()

    def is_of(self, task: asyncio.Task[Any] | None) -> bool:
        return self._task is task

    def forget(self) -> None:
        """Let nothing but an error of its own end it."""
        self._task = None

    def __enter__(self) -> None:
        if self._visits.closed:
            raise self._visits.error()
        self._task = task = asyncio.current_task()
        self._cancellations = 0 if task is None else task.cancelling()
        self._visits.going.add(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._visits.leave(self)
        if self._task is None and self._visits.closed and isinstance(error, Exception):
            raise self._visits.error() from error
        if not self._ended or self._task is None:
            return
        is_ours = self._task.uncancel() <= self._cancellations
        if is_ours and isinstance(error, asyncio.CancelledError):
            raise self._visits.error() from None
        if isinstance(error, Exception):
            raise self._visits.error() from error


# The way from the event loop into a thread or a process and back, for work on files.
#
# The reasons stand in docs/decisions/0007.

R = TypeVar("R")


async def in_thread(job: Callable[..., R], *arguments: object) -> R:
    """Run the blocking job in a thread and return its result; when cancelled, first wait until the
    job has ended.
    """
    return await finished(asyncio.get_running_loop().run_in_executor(None, job, *arguments))


async def opened_in_thread(
    opening: Callable[..., R], *arguments: object, close: Callable[[R], object]
) -> R:
    """Return what the blocking job opens, as `in_thread`; when cancelled, first let a thread close
    it, since the caller never gets it.
    """
    future = asyncio.get_running_loop().run_in_executor(None, opening, *arguments)
    try:
        return await finished(future)
    except asyncio.CancelledError:
        if not future.cancelled() and future.exception() is None:
            await in_thread(close, future.result())
        raise


async def finished(future: "asyncio.Future[R]") -> R:
    """Return the result of a job that runs elsewhere; when cancelled, first wait until the job has
    ended.
    """
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):  # it is cancelled already
                await asyncio.wait((future,))
        if not future.cancelled():
            # Nothing is told of its failure any more, and the loop need not complain of that.
            future.exception()
        raise
