"""Bench of serving local files: flowsync beside bare aiohttp and, where it is installed, nginx with one worker. All files are in the page cache.

Scenarios: 4 KiB files over 16 kept connections, 2000 requests a round; a file of 64 MiB over one connection. Each server is a process of its own, the
client is this one and does as little as possible; on two cores it takes part of the machine. Left out: TLS, cold disks, many processes.
"""

import asyncio
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from flowsync import DeclarativeVersion, Engine, Remote, Repository
from flowsync.sources.file import FileFirstStage

SMALL, LARGE = 4096, 64 << 20
REQUESTS = 2000
CONNECTIONS = 16
SERVERS = ["flowsync", "aiohttp", "nginx"]


@pytest.mark.parametrize("server", SERVERS)
def bench_small(benchmark: BenchmarkFixture, tmp_path: Path, conninfo: str, server: str) -> None:
    requests = CONNECTIONS if benchmark.disabled else REQUESTS
    with serving(server, publish(tmp_path, SMALL), conninfo) as url:
        benchmark.pedantic(
            lambda: uvloop.run(ask(url, SMALL, requests, CONNECTIONS)), rounds=7, warmup_rounds=1
        )


@pytest.mark.parametrize("server", SERVERS)
def bench_large(benchmark: BenchmarkFixture, tmp_path: Path, conninfo: str, server: str) -> None:
    size = 1 << 20 if benchmark.disabled else LARGE
    with serving(server, publish(tmp_path, size), conninfo) as url:
        benchmark.pedantic(lambda: uvloop.run(ask(url, size, 1, 1)), rounds=7, warmup_rounds=1)


def publish(folder: Path, size: int) -> Path:
    body = bytes(size)
    tree = folder / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(body)
    digest = hashlib.sha256(body).hexdigest()
    (tree / "PULP_MANIFEST").write_text(f"file,{digest},{size}\n")
    return tree


@contextmanager
def serving(server: str, tree: Path, conninfo: str) -> Iterator[str]:
    """Run the server over the files, and give the URL of its file."""
    if server == "nginx":
        command, prefix = nginx(tree), ""
    elif server == "aiohttp":
        command, prefix = [sys.executable, "-m", "bench.serving.bare", str(tree)], ""
    else:
        home = tree.parent / "home"
        uvloop.run(sync(home, conninfo, tree))
        place = ["--home", str(home), "--database-url", conninfo]
        command = [sys.executable, "-m", "flowsync", *place, "serve", "--bind", "127.0.0.1:0"]
        prefix = "files/"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+/", process.stdout.readline())
            assert found is not None
            yield f"{found[0]}{prefix}file"
        finally:
            process.terminate()


def nginx(tree: Path) -> list[str]:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    with asyncio.Runner() as runner:
        port = runner.run(free_port())
    configuration = tree.parent / "nginx.conf"
    configuration.write_text(
        f"user root; worker_processes 1; daemon off; pid {tree.parent}/pid; error_log stderr;\n"
        "events { worker_connections 256; }\n"
        f"http {{ access_log off; sendfile on; keepalive_requests 1000000;\n"
        f"server {{ listen 127.0.0.1:{port}; root {tree}; }} }}\n"
    )
    start = f"echo http://127.0.0.1:{port}/; exec nginx -e stderr -c {configuration}"
    return ["sh", "-c", start]


async def free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    server.close()
    return port


async def sync(home: Path, conninfo: str, tree: Path) -> None:
    async with Engine(home, database_url=conninfo) as engine:
        remote = Remote(name="files", url=f"{tree.as_uri()}/PULP_MANIFEST")
        stage = FileFirstStage(remote)
        await DeclarativeVersion(stage, Repository(name="files"), engine=engine).acreate()


async def ask(url: str, size: int, requests: int, connections: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(ask_again(url, size, requests // connections))


async def ask_again(url: str, size: int, requests: int) -> None:
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    reader, writer = await connect(name, int(port))
    for _ in range(requests):
        writer.write(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head[:16]
        missing = size
        while missing:
            missing -= len(await reader.read(min(missing, 1 << 20)))
    writer.close()


async def connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect; a server that has just said where it listens may be a moment from doing so."""
    for _ in range(100):
        try:
            return await asyncio.open_connection(host, port, limit=1 << 20)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
    return await asyncio.open_connection(host, port, limit=1 << 20)
