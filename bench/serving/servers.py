"""The servers that are compared, each a process of its own over the same files: flowsync, and bare
aiohttp.
"""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvloop

from flowsync import DeclarativeVersion, Engine, Remote, Repository
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
def flowsync(home: Path, conninfo: str, upstream: str) -> Iterator[str]:
    """Sync the folder at the URL `upstream` into a new home, serve it, and give the URL of the
    repository's root.
    """
    uvloop.run(_sync(home, conninfo, upstream))
    place = ["--home", str(home), "--database-url", conninfo]
    command = [sys.executable, "-m", "flowsync", *place, "serve", "--bind", "127.0.0.1:0"]
    with _running(command) as url:
        yield f"{url}files/"


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


async def _sync(home: Path, conninfo: str, upstream: str) -> None:
    async with Engine(home, database_url=conninfo) as engine:
        remote = Remote(name="files", url=f"{upstream}{MANIFEST}")
        stage = FileFirstStage(remote)
        await DeclarativeVersion(stage, Repository(name="files"), engine=engine).acreate()
