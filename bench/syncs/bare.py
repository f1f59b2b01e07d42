"""What aiohttp alone does: fetch every file of a manifest with 16 requests at a time and write it,
unverified and unrecorded.

`python -m bench.syncs.bare URL MANIFEST FOLDER`. A reference: the least that a Python process with
this client can take.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiohttp
import uvloop

from bench.syncs.tree import paths

CONCURRENCY: Final = 16


async def fetch_all(url: str, upstream: Path, folder: Path) -> None:
    wanted = paths(upstream)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(CONCURRENCY):
            group.create_task(_fetch_next(session, url, wanted, folder))


async def _fetch_next(
    session: aiohttp.ClientSession, url: str, wanted: Iterator[str], folder: Path
) -> None:
    for path in wanted:
        target = folder / path
        os.makedirs(target.parent, exist_ok=True)
        async with session.get(f"{url}/{path}") as response:
            response.raise_for_status()
            with open(target, "wb") as file:  # noqa: ASYNC230 -- that is the point: the least there is to do
                async for chunk in response.content.iter_any():
                    file.write(chunk)


if __name__ == "__main__":
    uvloop.run(fetch_all(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
