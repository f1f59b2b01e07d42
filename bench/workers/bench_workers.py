"""A first sync from a fast upstream on the same machine, with 0, 1 and 2 download workers: many
small files, and few large ones.

Each round is a whole sync of new content into an open engine: declaring, downloading, verifying,
storing durably, recording. The workers are warm, as in a daemon. The table is in seconds a sync;
`-s` prints files/s and MB/s of the fastest. The upstream, in a process of its own, takes part of
the cores. Left out: starting workers, slow networks, TLS, which costs a worker CPU that this
process then has not to spend.

On 2 cores, which upstream and PostgreSQL share, medians for 0, 1 and 2 workers: 2000 files of 4 KiB
in 0.51, 0.43 and 0.37 s; 8 files of 64 MiB in 0.81, 1.37 and 1.28 s. Small files gain and large
ones lose there, so an engine has no workers unless it is told to.

Run once as a test, a sync has one file.
"""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.download.server import HEAD, Answering
from flowsync import (
    Artifact,
    Content,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Remote,
    Repository,
    Stage,
)

SMALL, LARGE = 4096, 64 * 1024 * 1024
FILES = {SMALL: 2000, LARGE: 8}
ROUNDS = {SMALL: 7, LARGE: 3}
CONCURRENCY = 16

_serial = count()


class Blob(Content):
    type_name = "bench.blob"
    natural_key = ("name",)

    name: str


class Given(Stage):
    def __init__(self, items: list[DeclarativeContent]) -> None:
        self.given = items

    async def run(self) -> None:
        await self.put_all(self.given)


class Distinct(Answering):
    """Answers `/SIZE/NAME` with a body that begins with the name's digest, so that no two are
    alike.
    """

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            _, size, rest = head.split(b"/", 2)
            first = hashlib.sha256(rest.split(b" ", 1)[0]).digest()
            self._transport.writelines(
                (HEAD % (int(size), int(size)), first, memoryview(ZEROS)[: int(size) - 32])
            )


ZEROS = bytes(LARGE)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Distinct, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@pytest.fixture(scope="session")
def upstream() -> Iterator[str]:
    command = [sys.executable, "-m", "bench.workers.bench_workers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


class World(NamedTuple):
    runner: asyncio.Runner
    engine: Engine


@contextmanager
def opened(conninfo: str, home: Path, workers: int) -> Iterator[World]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        engine = Engine(home, database_url=conninfo, workers=workers)
        runner.run(engine.open())
        try:
            yield World(runner, engine)
        finally:
            runner.run(engine.close())


def declare(url: str, size: int, files: int) -> list[DeclarativeContent]:
    remote = Remote(name="bench", url=url, download_concurrency=CONCURRENCY)
    items = []
    for number in range(files):
        name = f"{next(_serial)}-{number}"
        artifact = DeclarativeArtifact(
            Artifact(size=size), url=f"{url}/{size}/{name}", relative_path=name, remote=remote
        )
        items.append(DeclarativeContent(Blob(name=name), [artifact]))
    return items


def sync(world: World, items: list[DeclarativeContent]) -> None:
    """Sync new content into a new repository."""
    repository = Repository(name=f"bench-{next(_serial)}")
    version = DeclarativeVersion(Given(items), repository, engine=world.engine)
    world.runner.run(version.acreate())


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["4KiB", "64MiB"])
@pytest.mark.parametrize("workers", [0, 1, 2])
def bench_first_sync(
    benchmark: BenchmarkFixture,
    conninfo: str,
    tmp_path: Path,
    upstream: str,
    workers: int,
    size: int,
) -> None:
    files = FILES[size] if benchmark.enabled else 1
    with opened(conninfo, tmp_path / "home", workers) as world:
        sync(world, declare(upstream, SMALL, 2))
        benchmark.pedantic(
            lambda items: sync(world, items),
            setup=lambda: ((declare(upstream, size, files),), {}),
            rounds=ROUNDS[size],
        )
    if benchmark.stats is not None:
        fastest = benchmark.stats.stats.min
        print(f"\n{files / fastest:.0f} files/s, {files * size / fastest / 1e6:.0f} MB/s")


if __name__ == "__main__":
    uvloop.run(serve())
