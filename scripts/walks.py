"""Measures how far one has to walk: `.venv/bin/python -m scripts.walks`.

Each of the five walks of `docs/architecture.md` is made once, with one file of 4 KiB, in this
process, and every call of a function of flowsync is seen by Python's profiler. The table tells how
many files and functions a walk enters, and how often the file changes from one call to the next in
a thread; a coroutine that goes on counts as a call.

Left out: imports, opening engine and server, the parts that an engine makes for its first sync,
what worker processes do on their side, and the walks that errors take. PostgreSQL is an embedded
one, in a temporary folder.
"""

import argparse
import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import CO_OPTIMIZED
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Self

import uvloop

import flowsync
from flowsync import DeclarativeVersion, Engine, Remote, Repository
from flowsync.cli.main import main as command_line
from flowsync.embedded_postgres.server import EmbeddedPostgres
from flowsync.serve.app import ContentServer
from flowsync.sources.file import FileFirstStage
from scripts.demo import MANIFEST, serving, write_manifest

PACKAGE = f"{Path(flowsync.__file__).parent}{os.sep}"


class Walk:
    """What was entered between `__enter__` and `__exit__`, in all threads that begin meanwhile and
    in this one.
    """

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self.functions: set[tuple[str, str]] = set()
        self.changes = 0
        self._last = threading.local()

    def __enter__(self) -> Self:
        threading.setprofile(self._look)
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _look(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_flags & CO_OPTIMIZED:
            return  # what is not optimized is the body of a module or of a class: an import
        if not code.co_filename.startswith(PACKAGE):
            return
        self.files.setdefault(code.co_filename)
        self.functions.add((code.co_filename, code.co_qualname))
        if code.co_filename != getattr(self._last, "file", code.co_filename):
            self.changes += 1
        self._last.file = code.co_filename


def main() -> int:
    """Make all walks and print the table."""
    parser = argparse.ArgumentParser(description="Measure how far one has to walk.")
    parser.add_argument("--files", action="store_true", help="list the files as they are entered")
    options = parser.parse_args()
    walks: dict[str, Walk] = {}
    with TemporaryDirectory() as folder, upstream(Path(folder)) as url:
        home = Path(folder, "home")
        server = EmbeddedPostgres(Path(folder, "postgres"))
        server.start()
        try:
            root = Path(folder, "upstream")
            uvloop.run(walk_in_engine(walks, home, server.conninfo(), url, root))
            walks["a command to its exit status"] = walk_of_command(home, server.conninfo())
            uvloop.run(walk_to_worker(walks, home, server.conninfo(), url, root))
        finally:
            server.stop()
    print(f"{'':34} {'files':>6} {'functions':>10} {'changes of file':>16}")
    for name, walk in walks.items():
        print(f"{name:34} {len(walk.files):6} {len(walk.functions):10} {walk.changes:16}")
    for name, walk in walks.items() if options.files else ():
        print(f"\n{name}:", *(file.removeprefix(PACKAGE) for file in walk.files), sep="\n  ")
    return 0


@contextmanager
def upstream(folder: Path) -> Iterator[str]:
    """Serve a manifest of one file, and give its URL."""
    root = folder / "upstream"
    root.mkdir()
    fill(root)
    with serving(root) as url:
        yield f"{url}/{MANIFEST}"


def fill(root: Path) -> None:
    """Give upstream's one file new bytes."""
    (root / "file").write_bytes(os.urandom(4096))
    write_manifest(root)


def sync(engine: Engine, url: str, name: str, policy: str) -> DeclarativeVersion:
    """Make the sync of a repository."""
    remote = Remote(name=name, url=url, policy=policy)  # type: ignore[arg-type]
    return DeclarativeVersion(FileFirstStage(remote), Repository(name=name), engine=engine)


async def make_parts(engine: Engine, url: str, root: Path) -> None:
    """Let an engine make what it keeps for all syncs; give upstream's file new bytes then."""
    await sync(engine, url, "parts", "immediate").acreate()
    fill(root)


async def walk_in_engine(
    walks: dict[str, Walk], home: Path, database: str, url: str, root: Path
) -> None:
    """Walk from a unit to its row, from a body to its blob, and from a request to its bytes."""
    async with Engine(home, database_url=database) as engine:
        await make_parts(engine, url, root)
        with Walk() as walk:
            await sync(engine, url, "rows", "on_demand").acreate()
        walks["a unit to its row"] = walk
        with Walk() as walk:
            await sync(engine, url, "blobs", "immediate").acreate()
        walks["a body to its blob"] = walk
        async with ContentServer(engine) as server:
            port = server.addresses[0][1]
            with Walk() as walk:
                await ask(port, "/blobs/file")
            walks["a request to its bytes"] = walk


async def ask(port: int, target: str) -> None:
    """Read an answer to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read(-1)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]


def walk_of_command(home: Path, database: str) -> Walk:
    """Walk from `flowsync versions` to its exit status."""
    os.environ["FLOWSYNC_HOME"], os.environ["FLOWSYNC_DATABASE_URL"] = str(home), database
    arguments, sys.argv = sys.argv, ["flowsync", "versions", "blobs"]
    try:
        with silence(), Walk() as walk:
            status = exit_status(command_line)
    finally:
        sys.argv = arguments
    assert not status, status
    return walk


@contextmanager
def silence() -> Iterator[None]:
    """Lead standard output to nowhere."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def exit_status(program: Callable[[], object]) -> object:
    """Return the status with which a program exits."""
    try:
        return program()
    except SystemExit as end:
        return end.code


async def walk_to_worker(
    walks: dict[str, Walk], home: Path, database: str, url: str, root: Path
) -> None:
    """Walk with a batch to a download worker and back."""
    async with Engine(home, database_url=database, workers=1) as engine:
        fill(root)
        await make_parts(engine, url, root)
        with Walk() as walk:
            await sync(engine, url, "workers", "immediate").acreate()
        walks["a batch through a worker"] = walk


if __name__ == "__main__":
    sys.exit(main())
