"""The event loop of the tests: uvloop, as in production, with a clock that works on it.

1. Every coroutine test and fixture runs on uvloop.
2. A coroutine test that takes four fifths of its time-out (the marker's, the command line's, or
   that of the configuration) is cancelled from inside its loop and fails with the traceback of the
   place where it waited; its fixtures are torn down as usual.

3. What hangs nevertheless ends with its process (`faulthandler_timeout`), also while a failed test
   is torn down.

Rules 2 and 3 are here because an idle uvloop swallows what a signal handler raises, so that the
signal of pytest-timeout, which fails every other test cleanly, does not stop a coroutine that
waits; and because a failure stops all of pytest's clocks, for a debugger's sake.
"""

import asyncio
import faulthandler
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping

import pytest
import uvloop
from _pytest.faulthandler import fault_handler_stderr_fd_key

AsyncTest = Callable[..., Awaitable[None]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        item.obj = _with_deadline(item.obj, _seconds(item))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    seconds = float(item.config.getini("faulthandler_timeout"))
    if seconds:
        stderr = item.config.stash[fault_handler_stderr_fd_key]
        faulthandler.dump_traceback_later(seconds, exit=True, file=stderr)


def _seconds(item: pytest.Item) -> float | None:
    marker = item.get_closest_marker("timeout")
    if marker is not None and marker.args:
        limit = marker.args[0]
    else:
        option = item.config.getoption("timeout")
        limit = item.config.getini("timeout") if option is None else option
    return float(limit) * 0.8 or None


def _with_deadline(test: AsyncTest, seconds: float | None) -> AsyncTest:
    @functools.wraps(test)
    async def run(**fixtures: object) -> None:
        async with asyncio.timeout(seconds):
            await test(**fixtures)

    return run
