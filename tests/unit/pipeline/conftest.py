"""The pipeline's tests run on both event loops: it is used as a library, and its caller may run
another loop than the product's.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Any

import pytest
import uvloop


@pytest.hookimpl(tryfirst=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., asyncio.Task[Any]]]:
    """Give a way to start tasks that are ended with the test."""

    def start_task(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        tasks.append(task)
        return task

    tasks: list[asyncio.Task[Any]] = []
    yield start_task
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Keep the garbage collector from running unasked: what goes then goes because nothing refers
    to it.
    """
    gc.collect()
    gc.disable()
    yield
    gc.enable()
