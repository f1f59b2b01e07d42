"""The main job of flowsync, from an empty folder to a verified mirror: what `make demo` runs.

A real upstream (the running Python's own files) is served over HTTP on loopback, and the command line is used as a person would use it: sync,
sync again without a change, change upstream, sync a third time, look at versions and difference, export, and compare byte by byte.
Everything happens below `.demo/`, which is made anew each time.
"""

import asyncio
import filecmp
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

FILES = 5000
"""Files upstream has at first, if this Python has that many."""

ROOT = Path(__file__).resolve().parent.parent / ".demo"
UPSTREAM = ROOT / "upstream"
MIRROR = ROOT / "mirror"
MANIFEST = "PULP_MANIFEST"


def main() -> int:
    """Play the whole story and return 0 when the mirror equals upstream."""
    began = time.monotonic()
    shutil.rmtree(ROOT, ignore_errors=True)
    make_upstream()
    with serving(UPSTREAM) as url:
        sync = ("sync", "file", f"{url}/{MANIFEST}", "--repository", "python", "--mirror")
        tell("First sync: everything is new.")
        flowsync(*sync)
        tell("Second sync: one conditional request says that nothing changed.")
        flowsync(*sync)
        tell("The same, forced to look at every file: still no new version.")
        flowsync(*sync, "--force")
        change_upstream()
        tell("Third sync, after upstream changed.")
        flowsync(*sync)
    tell("What came of it.")
    flowsync("versions", "python")
    flowsync("diff", "python", "1", "2")
    flowsync("export", "python", str(MIRROR))
    flowsync("status")
    tell("Comparing the export with upstream, byte by byte.")
    differences = compare(UPSTREAM, MIRROR)
    for line in differences[:10]:
        print(f"  {line}")
    print(
        f"{len(differences)} differences in {count_files(UPSTREAM)} files; the whole demo took {time.monotonic() - began:.0f} s"
    )
    return 1 if differences else 0


def tell(text: str) -> None:
    """Say what comes next."""
    print(f"\n# {text}", flush=True)


def flowsync(*arguments: str) -> None:
    """Run the command line as a person would, with its home below `.demo/`."""
    shown = " ".join(arguments)
    print(f"$ flowsync {shown}", flush=True)
    command = [sys.executable, "-m", "flowsync", "--home", str(ROOT / "home"), *arguments]
    subprocess.run(command, check=True)


def make_upstream() -> None:
    """Copy files of the running Python below `upstream/` and list them in a manifest."""
    UPSTREAM.mkdir(parents=True)
    for source, relative in itertools.islice(python_files(), FILES):
        target = UPSTREAM / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    write_manifest()
    size = sum(path.stat().st_size for path in files_of(UPSTREAM))
    print(f"Upstream: {count_files(UPSTREAM)} files of this Python, {size / 1e6:.0f} MB.")


def python_files() -> Iterator[tuple[Path, Path]]:
    """Yield files of the standard library and of the installed packages, each with a path to publish it at."""
    for name in ("purelib", "stdlib"):
        root = Path(sysconfig.get_path(name))
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(set(folders) - {"__pycache__", "site-packages"})
            for file in sorted(names):
                path = Path(folder, file)
                if path.is_file() and not path.is_symlink():
                    yield path, name / path.relative_to(root)


def change_upstream() -> None:
    """Add 40 files, change 30, remove 20."""
    files = sorted(files_of(UPSTREAM))
    for path in files[10:310:10]:
        path.write_bytes(path.read_bytes() + b"\n# changed upstream\n")
    for path in files[1000:1400:20]:
        path.unlink()
    for number in range(40):
        path = UPSTREAM / "new" / f"file-{number:02}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"new file {number}\n" * 1000)
    write_manifest()


def write_manifest() -> None:
    """List all files as `path,sha256,size`."""
    lines = [
        f"{path.relative_to(UPSTREAM)},{hashlib.sha256(path.read_bytes()).hexdigest()},{path.stat().st_size}"
        for path in files_of(UPSTREAM)
    ]
    (UPSTREAM / MANIFEST).write_text("\n".join(lines) + "\n")


def files_of(root: Path) -> Iterator[Path]:
    """Yield the files that are published: all but the manifest, and the marker of an export."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name not in {MANIFEST, ".flowsync-export.json"}:
            yield path


def count_files(root: Path) -> int:
    """Count the published files."""
    return sum(1 for _ in files_of(root))


def compare(expected: Path, found: Path) -> list[str]:
    """Return a line for every path that is missing, that is too much, or whose bytes differ."""
    wanted = {path.relative_to(expected) for path in files_of(expected)}
    here = {path.relative_to(found) for path in files_of(found)}
    differing = [
        path
        for path in sorted(wanted & here)
        if not filecmp.cmp(expected / path, found / path, shallow=False)
    ]
    return [
        *(f"missing: {path}" for path in sorted(wanted - here)),
        *(f"too much: {path}" for path in sorted(here - wanted)),
        *(f"differs: {path}" for path in differing),
    ]


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP on a free loopback port, from a thread, and give its URL."""
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app, access_log=None)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        assert isinstance(port, int)
        return port

    try:
        port = asyncio.run_coroutine_threadsafe(start(), loop).result()
        yield f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


if __name__ == "__main__":
    sys.exit(main())
