"""The servers that are compared, each a process of its own over the same files: flowsync, bare
aiohttp, and nginx with one worker.
"""

import asyncio
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import pytest
import uvloop
from aiohttp import ClientSession

from flowsync import DeclarativeVersion, Engine, Remote, Repository
from flowsync.model.remote import Policy
from flowsync.sources.file import FileFirstStage

MANIFEST = "PULP_MANIFEST"


def publish(folder: Path, sizes: Sequence[int]) -> Path:
    """Make files `0`, `1`, … of these sizes, each unlike the others, with their manifest; return
    their folder.
    """
    tree = folder / "tree"
    tree.mkdir()
    lines = []
    for number, size in enumerate(sizes):
        body = number.to_bytes(4).ljust(size, b"\0")[:size]
        (tree / str(number)).write_bytes(body)
        lines.append(f"{number},{hashlib.sha256(body).hexdigest()},{size}\n")
    (tree / MANIFEST).write_text("".join(lines))
    return tree


@contextmanager
def aiohttp(tree: Path) -> Iterator[str]:
    """Serve the folder by bare aiohttp and give the URL of its root."""
    with _running([sys.executable, "-m", "bench.serving.bare", str(tree)]) as url:
        yield url


@contextmanager
def nginx(tree: Path) -> Iterator[str]:
    """Serve the folder by nginx and give the URL of its root. Skip the bench where there is
    none.
    """
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    port = uvloop.run(_free_port())
    configuration = tree.parent / "nginx.conf"
    configuration.write_text(
        f"user root; worker_processes 1; daemon off; pid {tree.parent}/pid; error_log stderr;\n"
        "events { worker_connections 256; }\n"
        f"http {{ access_log off; sendfile on; keepalive_requests 1000000;\n"
        f"server {{ listen 127.0.0.1:{port}; root {tree}; }} }}\n"
    )
    start = f"echo http://127.0.0.1:{port}/; exec nginx -e stderr -c {configuration}"
    with _running(["sh", "-c", start]) as url:
        yield url


@contextmanager
def flowsync(
    home: Path, conninfo: str, upstream: str, policy: Policy = "immediate"
) -> Iterator[str]:
    """Sync the folder at the URL `upstream` into a new home, serve it, and give the URL of the
    repository's root.
    """
    uvloop.run(_sync(home, conninfo, upstream, policy))
    place = ["--home", str(home), "--database-url", conninfo]
    command = [sys.executable, "-m", "flowsync", *place, "serve", "--bind", "127.0.0.1:0"]
    with _running(command) as url:
        yield f"{url}files/"


async def idle(url: str) -> None:
    """Wait until the flowsync that has this URL brings nothing any more."""
    async with ClientSession() as session:
        while True:
            async with session.get(urljoin(url, "/-/metrics")) as metrics:
                if b"flowsync_serve_running_fetches 0\n" in await metrics.read():
                    return


@contextmanager
def _running(command: Sequence[str]) -> Iterator[str]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+/", process.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            process.terminate()


async def _sync(home: Path, conninfo: str, upstream: str, policy: Policy) -> None:
    async with Engine(home, database_url=conninfo) as engine:
        remote = Remote(name="files", url=f"{upstream}{MANIFEST}", policy=policy)
        stage = FileFirstStage(remote)
        await DeclarativeVersion(stage, Repository(name="files"), engine=engine).acreate()


async def _free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    server.close()
    return port
