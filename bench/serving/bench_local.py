"""Bench of serving local files: flowsync beside bare aiohttp. All files are in the page cache.

Scenarios: 4 KiB files over 16 kept connections, 2000 requests a round; a file of 64 MiB over one
connection. Each server is a process of its own, the client is this one and does as little as
possible; on two cores it takes part of the machine. Left out: TLS, cold disks, many processes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.serving import servers
from bench.serving.asking import ask_all

SMALL, LARGE = 4096, 64 << 20
REQUESTS = 2000
CONNECTIONS = 16
SERVERS = ["flowsync", "aiohttp"]


@pytest.mark.parametrize("server", SERVERS)
def bench_small(benchmark: BenchmarkFixture, tmp_path: Path, conninfo: str, server: str) -> None:
    requests = CONNECTIONS if benchmark.disabled else REQUESTS
    with serving(server, tmp_path, SMALL, conninfo) as url:
        benchmark.pedantic(
            lambda: uvloop.run(ask_all(url, SMALL, requests, CONNECTIONS)),
            rounds=7,
            warmup_rounds=1,
        )


@pytest.mark.parametrize("server", SERVERS)
def bench_large(benchmark: BenchmarkFixture, tmp_path: Path, conninfo: str, server: str) -> None:
    size = 1 << 20 if benchmark.disabled else LARGE
    with serving(server, tmp_path, size, conninfo) as url:
        benchmark.pedantic(lambda: uvloop.run(ask_all(url, size, 1, 1)), rounds=7, warmup_rounds=1)


@contextmanager
def serving(server: str, folder: Path, size: int, conninfo: str) -> Iterator[str]:
    """Run the server over one file, and give its URL."""
    tree = servers.publish(folder, [size])
    if server == "aiohttp":
        running = servers.aiohttp(tree)
    else:
        running = servers.flowsync(folder / "home", conninfo, f"{tree.as_uri()}/")
    with running as url:
        yield f"{url}0"
