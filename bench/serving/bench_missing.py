"""Bench of serving what is not here yet: how much later its first byte comes than from upstream
itself, and a thousand clients at once.

Scenario: a file of 1 MiB that was synced on demand and is asked for the first time, over a kept
connection; each round takes another file, when the one before is stored. Upstream is bare aiohttp
on loopback, so what flowsync adds is all there is to see. The thousand clients connect anew and all
read the whole file.
"""

import asyncio
from pathlib import Path

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.serving import servers
from bench.serving.asking import Connection, connect, first_byte, rest

SIZE = 1 << 20
ROUNDS = 40
CLIENTS = 1000


@pytest.mark.parametrize("server", ["upstream", "flowsync"])
def bench_first_byte(
    benchmark: BenchmarkFixture, tmp_path: Path, conninfo: str, server: str
) -> None:
    rounds = 1 if benchmark.disabled else ROUNDS
    tree = servers.publish(tmp_path, [SIZE] * (rounds + 1))
    numbers = iter(range(rounds + 1))
    with (
        servers.aiohttp(tree) as upstream,
        servers.flowsync(tmp_path / "home", conninfo, upstream, "on_demand") as url,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop,
    ):
        root = upstream if server == "upstream" else url
        connection = loop.run(connect(root))
        _read(loop, connection, f"{root}{next(numbers)}")

        def read_rest() -> None:
            loop.run(rest(connection, SIZE))
            if server == "flowsync":
                loop.run(servers.idle(url))

        benchmark.pedantic(
            lambda path: loop.run(first_byte(connection, path)),
            setup=lambda: ((f"{root}{next(numbers)}",), {}),
            teardown=lambda _: read_rest(),
            rounds=rounds,
        )
        loop.run(_close(connection))


def bench_thousand_clients(benchmark: BenchmarkFixture, tmp_path: Path, conninfo: str) -> None:
    rounds, clients = (1, 20) if benchmark.disabled else (5, CLIENTS)
    tree = servers.publish(tmp_path, [SIZE] * rounds)
    numbers = iter(range(rounds))
    with (
        servers.aiohttp(tree) as upstream,
        servers.flowsync(tmp_path / "home", conninfo, upstream, "on_demand") as url,
    ):
        benchmark.pedantic(
            lambda path: uvloop.run(_all_at_once(path, clients)),
            setup=lambda: ((f"{url}{next(numbers)}",), {}),
            rounds=rounds,
        )


def _read(loop: asyncio.Runner, connection: Connection, url: str) -> None:
    loop.run(first_byte(connection, url))
    loop.run(rest(connection, SIZE))


async def _all_at_once(url: str, clients: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_one(url))


async def _one(url: str) -> None:
    connection = await connect(url)
    await first_byte(connection, url)
    await rest(connection, SIZE)
    connection[1].close()


async def _close(connection: Connection) -> None:
    connection[1].close()
