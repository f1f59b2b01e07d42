"""The event loop of the tests: uvloop, as in production, with a clock that works on it.

1. Every coroutine test and fixture runs on uvloop.
2. A coroutine test that is not done within its time-out (the marker's, the command line's, or that of the configuration) is cancelled from
   inside its loop and fails with the traceback of the place where it waited; its fixtures are torn down as usual.

The second rule is here because an idle uvloop swallows what a signal handler raises, so that the signal of pytest-timeout, which fails
every other test cleanly, never reaches a coroutine that waits. A test that resists cancellation too ends with its process (`faulthandler_timeout`).
"""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping

import pytest
import uvloop

AsyncTest = Callable[..., Awaitable[None]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        item.obj = _with_deadline(item.obj, _seconds(item))


def _seconds(item: pytest.Item) -> float | None:
    marker = item.get_closest_marker("timeout")
    if marker is not None and marker.args:
        limit = marker.args[0]
    else:
        option = item.config.getoption("timeout")
        limit = item.config.getini("timeout") if option is None else option
    # A little before the signal, whose error the loop would only log.
    return float(limit) * 0.95 or None


def _with_deadline(test: AsyncTest, seconds: float | None) -> AsyncTest:
    @functools.wraps(test)
    async def run(**fixtures: object) -> None:
        async with asyncio.timeout(seconds):
            await test(**fixtures)

    return run
