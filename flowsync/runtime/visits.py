"""Tasks at work in something that can be closed under them: closing ends their work there with an
error that says so.

A task that waits inside is cancelled, and its cancellation turns into the error where its visit
ends; a cancellation from elsewhere goes through.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

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
