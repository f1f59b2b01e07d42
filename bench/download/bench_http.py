"""What the fetcher costs beside the bare HTTP client: many small bodies, and few large ones.

Left out: disks (bodies stay in memory or are thrown away), hashing, and the server, which has a
process of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest
import uvloop

from bench.conftest import Sized
from bench.download.server import running
from flowsync.download.fetcher import open_fetcher
from flowsync.download.transfer.spool import Spool
from flowsync.model.remote import FetchRequest, Remote

SMALL, LARGE = 4096, 64 * 1024 * 1024
COUNTS = {SMALL: 3000, LARGE: 8}
CONCURRENCY = 16
ROUNDS = 7

Get = Callable[[str], Awaitable[object]]


class Nowhere:
    """A sink that forgets."""

    held = None

    def begin(self, validator: str | None) -> None:
        pass

    async def write(self, chunk: bytes) -> None:
        pass

    def direct(self, size: int) -> None:
        pass

    async def restart(self) -> None:
        pass

    async def finish(self) -> None:
        pass


@asynccontextmanager
async def bare(base: str) -> AsyncIterator[Get]:
    small = f"{base}/{SMALL}/"

    async def get(url: str) -> None:
        async with session.get(url) as response:
            if url.startswith(small):
                await response.read()
            else:
                async for _ in response.content.iter_any():
                    pass

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield get


@asynccontextmanager
async def flowsync(base: str) -> AsyncIterator[Get]:
    remote = Remote(name="bench", url=base)
    small = f"{base}/{SMALL}/"

    async def get(url: str) -> None:
        if url.startswith(small):
            sink = Spool(folder, 1 << 16)
            await fetcher.stream(FetchRequest(url=url, remote=remote, size=SMALL), sink)
        else:
            await fetcher.stream(FetchRequest(url=url, remote=remote), Nowhere())

    with TemporaryDirectory() as folder:
        async with open_fetcher(folder) as fetcher:
            yield get


WAYS = {"bare": bare, "flowsync": flowsync}


async def get_all(way: str, base: str, size: int, count: int) -> None:
    async with WAYS[way](base) as get:
        await get(f"{base}/{size}/warm")
        urls = iter([f"{base}/{size}/pool/{n % 10}/package_{n}.deb" for n in range(count)])
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY if size == SMALL else 1):
                group.create_task(_get_next(get, urls))


async def _get_next(get: Get, urls: Iterator[str]) -> None:
    for url in urls:
        await get(url)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("way", WAYS)
def bench_get(benchmark: Any, sized: Sized, way: str, size: int) -> None:
    with running() as base:
        benchmark.pedantic(
            lambda: uvloop.run(get_all(way, base, size, sized(COUNTS[size], 1))),
            rounds=ROUNDS if benchmark.enabled else 1,
        )
