"""What goes on in an engine: syncs, plans, exports, clean-up. Closing the engine ends all of it.

1. An operation is entered before it takes anything of the engine, and left when it holds nothing
   any more.
2. Closing refuses new ones and ends those that have not begun, such as syncs that wait for their
   turn. The others go on for as long as they are given, then they end too. It returns when all have
   ended.
3. An operation ends where it waits, by a cancellation of its task that comes out as an error:
   `EngineClosedError`, or `SyncTimeoutError` at its deadline. Once it has `settled`, in its last
   step, nothing ends it any more.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from flowsync.errors import EngineClosedError

P = ParamSpec("P")
T = TypeVar("T")


class Operation:
    """One thing that goes on, made by `Operations`. `began` tells it from one that still waits to
    begin.
    """

    def __init__(self) -> None:
        self.began = False
        self._error: Callable[[], Exception] | None = None
        self._scope: asyncio.Timeout | None = None
        self._settled = False

    @asynccontextmanager
    async def endable(self) -> AsyncIterator[None]:
        """Let the block be ended; what ended it is raised."""
        if self._error is not None:
            raise self._error()
        scope = self._scope = asyncio.timeout(None)
        try:
            async with scope:
                yield
        except Exception as error:
            # Whatever the clean-up raised besides, this is why it ended.
            if not scope.expired() or self._error is None:
                raise
            raise self._error() from error
        finally:
            self._scope = None

    def begin(self, seconds: float | None, late: Callable[[], Exception]) -> None:
        """Note that it begins now, and has so many seconds, if they are limited, before it ends
        with the error that `late` makes.
        """
        self.began = True
        if seconds is not None and self._scope is not None and not self._scope.expired():
            self._error = late
            self._scope.reschedule(asyncio.get_running_loop().time() + seconds)

    def settle(self) -> None:
        """Let nothing end it any more; raise `CancelledError` when its end has come."""
        self._settled = True
        if self._scope is not None:
            if self._scope.expired():
                raise asyncio.CancelledError
            self._scope.reschedule(None)

    def end(self, error: Callable[[], Exception]) -> None:
        """End it where it waits, with the error that `error` makes, unless its end has come
        already.
        """
        if self._settled or (self._scope is not None and self._scope.expired()):
            return
        self._error = error
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())


class Operations:
    """All operations of one engine, used from its loop. `home` names the engine in errors. Without
    `is_open` they belong to an engine that is not open yet, and none can be entered.
    """

    def __init__(self, home: object, *, is_open: bool = True) -> None:
        self._home = home
        self._going: set[Operation] = set()
        self._closed = not is_open
        self._state = "was closed" if is_open else "is not open"
        self._none_left = asyncio.Event()

    def expect_open(self) -> None:
        """Raise `EngineClosedError` when the engine is not open, or is being closed."""
        if self._closed:
            raise self.closed_error()

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[Operation]:
        """Count an operation while the block runs. Raise `EngineClosedError` as `expect_open`
        does.
        """
        self.expect_open()
        operation = Operation()
        self._going.add(operation)
        try:
            yield operation
        finally:
            self._going.discard(operation)
            if not self._going:
                self._none_left.set()

    @asynccontextmanager
    async def endable(self) -> AsyncIterator[Operation]:
        """Enter an operation that has begun, and that ends with the engine in any place of the
        block.
        """
        async with self.entered() as operation, operation.endable():
            operation.began = True
            yield operation

    async def close(self, drain: float) -> None:
        """Refuse new ones, end those that wait to begin, and after `drain` seconds the rest; return
        when none is left.
        """
        self._closed = True
        self.end_within(drain)
        for operation in self._going:
            if not operation.began:
                operation.end(self.closed_error)
        while self._going:
            self._none_left.clear()
            await self._none_left.wait()

    def end_within(self, seconds: float) -> None:
        """End after so many seconds what goes on then."""
        if seconds == math.inf:
            return
        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, self._end_all)
        else:
            self._end_all()

    def closed_error(self) -> EngineClosedError:
        """Return what operations end with that closing ends."""
        return EngineClosedError(f"the engine at {self._home} {self._state}")

    def _end_all(self) -> None:
        for operation in self._going:
            operation.end(self.closed_error)


class HasOperations(Protocol):
    """An engine, for what is below it."""

    operations: Operations


E = TypeVar("E", bound=HasOperations)


def ends_with_engine(
    work: Callable[Concatenate[E, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[E, P], Coroutine[Any, Any, T]]:
    """Make `work` an operation of the engine that is its first argument: closing that ends it with
    an `EngineClosedError`.
    """

    @wraps(work)
    async def run(engine: E, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with engine.operations.endable():
            return await work(engine, *args, **kwargs)

    return run
