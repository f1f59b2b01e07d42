"""Indexes as other servers have them, and a mirror of a mirror."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flowsync import Engine
from flowsync.errors import RedirectError
from flowsync.serve.app import ContentServer
from flowsync.sources.pypi import PythonFile
from scripts.python_index import Wheel, html_page, wheel
from tests.integration.sources.pypi.conftest import (
    FakeIndex,
    SyncPypi,
    needs_pip,
    pip,
    said,
    some_wheels,
)
from tests.upstream.server import Upstream


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a server until it answers at the port, and end it."""
    with (
        open(folder / "server.log", "wb") as log,
        subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                except OSError:
                    if process.poll() is not None:
                        raise
                else:
                    break
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def wheels_in(folder: Path, *wheels: Wheel) -> Path:
    folder.mkdir()
    for each in wheels:
        (folder / each.filename).write_bytes(each.body)
    return folder


@needs("pypi-server")
@needs_pip
async def test_a_pypiserver_is_mirrored_and_pip_installs(
    sync: SyncPypi, mirror: str, tmp_path: Path
) -> None:
    packages = wheels_in(tmp_path / "packages", *some_wheels())
    port = free_port()
    server = ["pypi-server", "run", "-p", str(port), "-i", "127.0.0.1", "--hash-algo", "sha256"]
    with running([*server, str(packages)], tmp_path, port):
        url = f"http://127.0.0.1:{port}/simple/"
        first = await sync(url=url)
        again = await sync(url=url)
        named = await sync(url=url, name="named", projects=("Fx.Main>=2",))
    status, out = await pip(
        *("install", "--target", "into", "fx-main"), index_url=mirror, folder=tmp_path
    )

    assert (first.present, first.downloaded, again.version) == (2 + 3, 3, None)
    assert named.present == 1 + 1
    assert status == 0, out


@needs("pypi-server")
async def test_a_project_that_pypiserver_sends_to_another_index_is_not_taken_from_there(
    sync: SyncPypi, tmp_path: Path
) -> None:
    packages = wheels_in(tmp_path / "packages", *some_wheels())
    port = free_port()
    with Upstream() as elsewhere:
        elsewhere.put("/simple/acme-tool/", html_page("acme-tool", [wheel("acme-tool")]))
        server = ["pypi-server", "run", "-p", str(port), "-i", "127.0.0.1"]
        server += ["--fallback-url", elsewhere.url("/simple/"), str(packages)]
        with running(server, tmp_path, port), pytest.raises(RedirectError):
            await sync(url=f"http://127.0.0.1:{port}/simple/", projects=("acme-tool",))
        assert elsewhere.count() == 0


@pytest.mark.timeout(240)  # it takes half a minute to begin
@needs("devpi-server")
@needs_pip
async def test_a_devpi_index_is_mirrored_by_its_serial(
    sync: SyncPypi, mirror: str, tmp_path: Path
) -> None:
    packages = wheels_in(tmp_path / "packages", *some_wheels())
    port, state = free_port(), str(tmp_path / "devpi")
    made = await said("devpi-init", "--serverdir", state, "--no-root-pypi", folder=tmp_path)
    assert made[0] == 0, made[1]
    server = ["devpi-server", "--serverdir", state, "--host", "127.0.0.1", "--port", str(port)]
    with running(server, tmp_path, port):
        for words in (
            ("use", f"http://127.0.0.1:{port}"),
            ("login", "root", "--password="),
            ("index", "-c", "root/dev", "volatile=True", "bases="),
            ("use", "root/dev"),
            ("upload", *map(str, sorted(packages.iterdir()))),
        ):
            status, out = await said("devpi", *words, folder=tmp_path)
            assert status == 0, out
        url = f"http://127.0.0.1:{port}/root/dev/+simple/"
        first = await sync(url=url)
        again = await sync(url=url)
    status, out = await pip(
        *("install", "--target", "into", "fx-main"), index_url=mirror, folder=tmp_path
    )

    assert (first.present, first.downloaded, again.skipped) == (2 + 3, 3, True)
    assert status == 0, out


async def test_a_mirror_of_a_mirror_has_the_same_content(
    index: FakeIndex, sync: SyncPypi, engine: Engine, server: ContentServer, mirror: str
) -> None:
    one, two, leaf = some_wheels()
    index.put("fx-main", one, two, fields={one.filename: {"yanked": "no"}})
    index.put("Fx_Leaf", leaf)
    await sync()

    await sync(url=mirror, name="second")
    again = await sync(url=mirror, name="second")

    roots = [(await engine.catalog.repositories.version(name)).root for name in ("py", "second")]
    assert roots[0] == roots[1]
    assert again.skipped


async def test_json_and_html_of_one_project_are_the_same_units(
    index: FakeIndex, sync: SyncPypi, engine: Engine
) -> None:
    one, two, _ = some_wheels()
    bare = {"size": None, "upload-time": None, "requires-python": None, "core-metadata": False}
    index.put("fx-main", one, two, fields={each.filename: bare for each in (one, two)})
    await sync()
    page = html_page("fx-main", [one, two]).replace(b"data-core-metadata", b"data-other")
    index.put_page("fx-main", page, "text/html; charset=utf-8")
    index.serial = 50
    index.projects["fx-main"] = ("fx-main", 50)
    index.put_list()

    again = await sync()

    assert again.version is None


async def test_units_say_what_the_page_said(
    index: FakeIndex, sync: SyncPypi, engine: Engine
) -> None:
    one, _, _ = some_wheels()
    said = {
        "requires-python": "~=3.x nonsense",
        "yanked": "",
        "upload-time": "2024-02-03T04:05:06Z",
    }
    index.put("fx-main", one, fields={one.filename: said})
    await sync()

    (unit,) = [unit async for unit in units_of(engine, "py")]
    assert (unit.requires_python, unit.yanked, unit.upload_time) == (
        "~=3.x nonsense",
        "",
        "2024-02-03T04:05:06Z",
    )
    assert (unit.version, unit.size, unit.sha256) == ("1.0", len(one.body), one.sha256)


async def units_of(engine: Engine, name: str):
    """Yield the files of the newest version."""
    served = await engine.catalog.serving.version(name, None, None)
    rows = engine.catalog.units.rows(served, PythonFile, None, by_path=False, with_files=False)
    async for batch in rows:
        for row in batch:
            import msgspec

            yield msgspec.json.decode(row.fields, type=PythonFile)


async def test_an_index_of_many_projects_asks_twelve_times_for_ten_that_changed(
    index: FakeIndex, sync: SyncPypi
) -> None:
    names = [f"p{number:04}" for number in range(1000)]
    put_list, index.put_list = index.put_list, lambda: None  # type: ignore[method-assign]
    for name in names:
        index.put(name, wheel(name))
    put_list()
    first = await sync(remote={"policy": "on_demand"})
    for name in names[::100]:
        index.put(name, wheel(name), wheel(name, "2.0"))
    put_list()
    index.asked()

    again = await sync(remote={"policy": "on_demand"})

    assert (first.present, again.added, again.removed) == (2000, 10, 0)
    assert len(index.asked()) == 12
