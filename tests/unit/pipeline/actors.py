"""Stages and items that the tests of the pipeline put on."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from flowsync.pipeline.resolution import Resolvable
from flowsync.pipeline.stage import Stage


class Unit(Resolvable):
    """An item that can be awaited and told from others."""

    def __init__(self, name: Any) -> None:
        super().__init__()
        self.name = name

    def __str__(self) -> str:
        return f"unit {self.name}"


class Feed(Stage):
    """Puts the given items, one by one."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.given = items

    async def run(self) -> None:
        for item in self.given:
            await self.put(item)


class Pass(Stage):
    """Hands every item on."""

    async def run(self) -> None:
        async for item in self.items():
            await self.put(item)


class Batch(Stage):
    """Hands items on in batches and notes their sizes."""

    def __init__(self, minsize: int = 500, maxsize: int | None = None) -> None:
        self.minsize = minsize
        self.maxsize = maxsize
        self.sizes: list[int] = []

    async def run(self) -> None:
        async for batch in self.batches(self.minsize, maxsize=self.maxsize):
            self.sizes.append(len(batch))
            await self.put_all(batch)


class Resolve(Stage):
    """Resolves every item and hands it on."""

    async def run(self) -> None:
        async for item in self.items():
            item.resolve()
            await self.put(item)


class Drop(Stage):
    """Drops the items that it is told to, without resolving them."""

    def __init__(self, wanted: Callable[[Any], bool] = lambda item: False) -> None:
        self.wanted = wanted

    async def run(self) -> None:
        async for item in self.items():
            if self.wanted(item):
                await self.put(item)


class Collect(Stage):
    """Ends a pipeline and keeps what arrived."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    async def run(self) -> None:
        async for item in self.items():
            self.found.append(item)


class Fail(Stage):
    """Reads one item, then fails."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def run(self) -> None:
        async for _ in self.items():
            raise self.error


class CleanUp(Stage):
    """Reads its input; when it is cancelled, takes a few turns of the loop to clean up."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.error = error
        self.cleaned = False
        self.started = asyncio.Event()

    async def run(self) -> None:
        self.started.set()
        try:
            async for item in self.items():
                await self.put(item)
        finally:
            await turns(5)
            self.cleaned = True
            if self.error is not None:
                raise self.error


async def turns(count: int) -> None:
    """Let everything else that is ready run, that many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(holds: Callable[[], object]) -> None:
    """Let others run until the condition holds."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for is the state of the code under test
            await asyncio.sleep(0)
