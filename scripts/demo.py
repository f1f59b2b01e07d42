"""The main job of flowsync, from an empty folder to a verified mirror: what `make demo` runs.

A real upstream (the running Python's own files) is served over HTTP on loopback, and the command
line is used as a person would use it: sync, sync again without a change, change upstream, sync a
third time, look at versions and difference, export, and compare byte by byte. Then a signed suite
of Debian packages and an index of Python packages, both made on the spot, are mirrored, and
`apt-get` (where there is one) and `pip` install from the mirror. Everything happens below one
folder, `.demo/` unless told otherwise, which is made anew each time.
"""

import argparse
import asyncio
import filecmp
import getpass
import hashlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pysequoia
from aiohttp import web

from flowsync.packages.openpgp import SigningKey
from scripts.debian_archive import package, write_archive
from scripts.python_index import wheel, write_index

MANIFEST = "PULP_MANIFEST"
MARKER = ".flowsync-export.json"
REPOSITORY = Path(__file__).resolve().parent.parent


def main() -> int:
    """Play the whole story and return 0 when the mirror equals upstream."""
    parser = argparse.ArgumentParser(description="Sync a real upstream, change it, compare.")
    parser.add_argument("--files", type=int, default=5000, help="how many files upstream has")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".demo", help="made anew")
    options = parser.parse_args()
    demo = Demo(options.folder.absolute(), options.files)
    try:
        return demo.play()
    except KeyboardInterrupt:
        return 130
    except subprocess.CalledProcessError as error:
        print(f"The demo ends here: exit status {error.returncode}.")
        return 1


class Demo:
    """One performance in one folder, with an upstream of so many files, if this Python has that
    many.
    """

    def __init__(self, root: Path, files: int) -> None:
        self.root = root
        self.upstream = root / "upstream"
        self.mirror = root / "mirror"
        self.files = files

    def play(self) -> int:
        """Play all acts and return 0 when the mirror equals upstream."""
        began = time.monotonic()
        self.clear_the_stage()
        make_upstream(self.upstream, self.files)
        with serving(self.upstream) as url:
            self.sync_three_times(f"{url}/{MANIFEST}")
        tell("What came of it.")
        self.flowsync("versions", "python")
        self.flowsync("diff", "python", "1", "2")
        self.flowsync("export", "python", str(self.mirror))
        self.flowsync("status")
        tell("Comparing the export with upstream, byte by byte.")
        differences = compare(self.upstream, self.mirror)
        for line in differences[:10]:
            print(f"  {line}")
        print(f"{len(differences)} differences in {len(files_of(self.upstream))} files")
        self.mirror_packages()
        print(f"\nThe whole demo took {time.monotonic() - began:.0f} s.")
        return 1 if differences else 0

    def mirror_packages(self) -> None:
        """Mirror a Debian suite and a Python index, and install from the mirror."""
        archive, index = self.root / "archive", self.root / "index"
        keyring = make_archive(archive)
        write_index(index, {name: [wheel(name)] for name in ("hello", "world")})
        tell("A suite of Debian packages, signed by a key of its own.")
        with serving(archive) as url:
            options = ("--set", "suites=stable", "--set", f"keyring={keyring}")
            self.flowsync("sync", "deb", url, "--repository", "debian", "--mirror", *options)
        tell("An index of Python packages.")
        with serving(index) as url:
            source = ("pypi", f"{url}/simple/", "--repository", "packages")
            self.flowsync("sync", *source, "--mirror", "--set", "projects=*")
        tell("Both are served from the mirror alone: their upstreams are gone.")
        with self.server() as mirror:
            self.install_debian(f"{mirror}/debian", keyring)
            self.install_python(f"{mirror}/packages/simple/")

    def install_debian(self, url: str, keyring: Path) -> None:
        """Let `apt-get` install a package from the mirror, into a folder."""
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            print("There is no apt-get here, so nothing is installed from the Debian mirror.")
            return
        apt = Apt(self.root / "apt", f"deb [signed-by={keyring}] {url} stable main")
        for words in (("update",), ("install", "--yes", "hello")):
            print(f"$ apt-get {' '.join(words)}", flush=True)
            apt.get(*words)
        print((apt.installed / "usr/share/hello/about").read_text(), end="")

    def install_python(self, url: str) -> None:
        """Let `pip` install a package from the mirror, into a folder."""
        target = self.root / "site-packages"
        words = ("install", "--target", str(target), "--index-url", url, "hello")
        print(f"$ pip {' '.join(words)}", flush=True)
        command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]
        subprocess.run([*command, *words], check=True, cwd=self.root)

    @contextmanager
    def server(self) -> Iterator[str]:
        """Run `flowsync serve`, and give its address."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            bind = f"127.0.0.1:{probe.getsockname()[1]}"
        print(f"$ flowsync serve --bind {bind} &", flush=True)
        command = [sys.executable, "-m", "flowsync", "serve", "--bind", bind]
        with subprocess.Popen(command, cwd=self.root, env=self.environment) as process:
            try:
                wait_until_it_answers(bind, process)
                yield f"http://{bind}"
            finally:
                process.terminate()

    def clear_the_stage(self) -> None:
        """Remove what an earlier demo left; a database server that outlived a killed one is stopped
        first, by whoever uses it last.
        """
        if any(self.root.glob("home/database/*/postmaster.pid")):
            self.flowsync("status")
        shutil.rmtree(self.root, ignore_errors=True)

    def sync_three_times(self, url: str) -> None:
        """Sync what is new, what is unchanged (skipped, then forced), and what changed."""
        sync = ("sync", "file", url, "--repository", "python", "--mirror")
        tell("First sync: everything is new.")
        self.flowsync(*sync)
        tell("Second sync: one conditional request says that nothing changed.")
        self.flowsync(*sync)
        tell("The same, forced to look at every file: still no new version.")
        self.flowsync(*sync, "--force")
        change_upstream(self.upstream)
        tell("Third sync, after upstream changed.")
        self.flowsync(*sync)

    def flowsync(self, *arguments: str) -> None:
        """Run the command line as a person would, with a home of its own and no settings
        but that.
        """
        print(f"$ flowsync {' '.join(arguments)}", flush=True)
        command = [sys.executable, "-m", "flowsync", *arguments]
        subprocess.run(command, check=True, cwd=self.root, env=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of this process, with the demo's home and no other settings."""
        others = {name: text for name, text in os.environ.items() if "FLOWSYNC_" not in name}
        return {**others, "FLOWSYNC_HOME": str(self.root / "home")}


class Apt:
    """`apt-get`, and the `dpkg` that it runs, with all that they keep and install below a folder,
    for any user.
    """

    def __init__(self, root: Path, source: str) -> None:
        self.installed = root / "installed"
        etc = [
            f"etc/{name}.d" for name in ("apt.conf", "preferences", "sources.list", "trusted.gpg")
        ]
        state = ["lists/partial", "cache/archives/partial", "dpkg/info", "dpkg/updates", "log"]
        for folder in (*etc, *state, "installed"):
            (root / folder).mkdir(parents=True)
        (root / "dpkg/status").touch()
        (root / "etc/sources.list").write_text(f"{source}\n")
        settings = {
            "Dir::Etc": root / "etc",
            "Dir::State": root,
            "Dir::State::Lists": root / "lists",
            "Dir::State::status": root / "dpkg/status",
            "Dir::Cache": root / "cache",
            "Dir::Log": root / "log",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": getpass.getuser(),
            "Acquire::http::Proxy": "DIRECT",
            "Debug::NoLocking": "1",
        }
        dpkg = (
            *(f"--admindir={root}/dpkg", f"--instdir={self.installed}", f"--log={root}/log/dpkg"),
            *("--force-not-root", "--force-bad-path", "--force-script-chrootless"),
        )
        lines = [f'{name} "{value}";\n' for name, value in settings.items()]
        lines += [f'DPkg::Options:: "{option}";\n' for option in dpkg]
        # Read before the settings of the machine, which it leads away from.
        self._settings = root / "apt.conf"
        self._settings.write_text("".join(lines))

    def get(self, *words: str) -> None:
        """Run `apt-get`."""
        environment = {**os.environ, "APT_CONFIG": str(self._settings), "LC_ALL": "C"}
        subprocess.run(["apt-get", "--quiet", *words], check=True, env=environment)


def tell(text: str) -> None:
    """Say what comes next."""
    print(f"\n# {text}", flush=True)


def make_upstream(folder: Path, count: int) -> None:
    """Copy files of the running Python below the folder and list them in a manifest."""
    folder.mkdir(parents=True)
    for source, relative in itertools.islice(python_files(), count):
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    write_manifest(folder)
    files = files_of(folder)
    size = sum(path.stat().st_size for path in files)
    print(f"Upstream: {len(files)} files of this Python, {size / 1e6:.0f} MB.")


def make_archive(folder: Path) -> Path:
    """Make a signed suite of two Debian packages; return the file of its certificate."""
    key = pysequoia.Tsk.generate("Demo <demo@example.org>")
    packages = [package("hello", Depends="libhello"), package("libhello", Section="libs")]
    write_archive(folder, "stable", {"main": packages}, SigningKey(key))
    keyring = folder.parent / "archive.asc"
    keyring.write_text(str(key.extract_certificate()))
    return keyring


def wait_until_it_answers(bind: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a server takes connections. Raise `CalledProcessError` when it ends before."""
    host, _, port = bind.partition(":")
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            if process.poll() is not None:
                raise subprocess.CalledProcessError(process.returncode, process.args) from None
            time.sleep(0.05)
        else:
            return


def python_files() -> Iterator[tuple[Path, Path]]:
    """Yield files of the standard library and of the installed packages, each with a path to
    publish it at.
    """
    for name in ("purelib", "stdlib"):
        root = Path(sysconfig.get_path(name))
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(set(folders) - {"__pycache__", "site-packages"})
            for file in sorted(names):
                path = Path(folder, file)
                if path.is_file() and not path.is_symlink():
                    yield path, name / path.relative_to(root)


def change_upstream(folder: Path) -> None:
    """Add 40 files, change 30, remove 20; less where there are few."""
    files = files_of(folder)
    changed, removed = min(30, len(files) // 10), min(20, len(files) // 10)
    chosen = random.Random(1).sample(files, changed + removed)  # noqa: S311 - no secret
    for path in chosen[:changed]:
        path.write_bytes(path.read_bytes() + b"\n# changed upstream\n")
    for path in chosen[changed:]:
        path.unlink()
    for number in range(40):
        path = folder / "new" / f"file-{number:02}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"new file {number}\n" * 1000)
    write_manifest(folder)


def write_manifest(folder: Path) -> None:
    """List all files as `path,sha256,size`."""
    lines = [
        f"{path.relative_to(folder)},{hashlib.sha256(path.read_bytes()).hexdigest()},{path.stat().st_size}\n"
        for path in files_of(folder)
    ]
    (folder / MANIFEST).write_text("".join(lines))


def files_of(root: Path) -> list[Path]:
    """Return the files that are published, in order: all but the manifest, and the marker of an
    export.
    """
    own = {root / MANIFEST, root / MARKER}
    return [path for path in sorted(root.rglob("*")) if path.is_file() and path not in own]


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
    """Serve a folder over HTTP on a free loopback port, from a thread, and give its URL. A folder
    in it is its `index.html`.
    """

    def file_at(path: str) -> Path | None:
        file = folder / path
        file = file / "index.html" if file.is_dir() else file
        inside = folder.resolve() in file.resolve().parents
        return file if inside and file.is_file() else None

    async def answer(request: web.Request) -> web.StreamResponse:
        file = await asyncio.to_thread(file_at, request.match_info["path"])
        if file is None:
            raise web.HTTPNotFound
        return web.FileResponse(file)

    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
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
