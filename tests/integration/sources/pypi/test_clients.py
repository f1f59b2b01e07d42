"""pip and uv as clients of a mirror."""

from pathlib import Path

from flowsync import Engine, export_version
from flowsync.sources.pypi import SOURCE
from scripts.demo import serving
from tests.integration.serve.conftest import Client
from tests.integration.sources.pypi.conftest import (
    JSON,
    FakeIndex,
    SyncPypi,
    needs_pip,
    needs_uv,
    pip,
    said,
    some_wheels,
)


@needs_pip
async def test_pip_downloads_with_dependencies_and_installs(
    index: FakeIndex, sync: SyncPypi, mirror: str, tmp_path: Path
) -> None:
    one, two, leaf = some_wheels()
    index.put("fx-main", one, two)
    index.put("Fx_Leaf", leaf)
    await sync()

    status, out = await pip("download", "-d", "got", "fx-main", index_url=mirror, folder=tmp_path)
    installed, told = await pip(
        "install", "--target", "into", "Fx_Main==1.0", index_url=mirror, folder=tmp_path
    )

    assert (status, installed) == (0, 0), out + told
    got = {file.name: file.read_bytes() for file in (tmp_path / "got").iterdir()}
    assert got == {two.filename: two.body, leaf.filename: leaf.body}
    assert (tmp_path / "into/fx_main.py").read_text() == 'version = "1.0"\n'


@needs_pip
async def test_pip_leaves_a_yanked_version_alone_and_tells_its_reason(
    index: FakeIndex, sync: SyncPypi, mirror: str, tmp_path: Path
) -> None:
    one, two, leaf = some_wheels()
    index.put("fx-main", one, two, fields={two.filename: {"yanked": "broken <b>"}})
    index.put("fx-leaf", leaf)
    await sync()

    newest, _ = await pip("download", "-d", "a", "fx-main", index_url=mirror, folder=tmp_path)
    pinned, told = await pip(
        "download", "-d", "b", "fx-main==2.0", index_url=mirror, folder=tmp_path
    )

    assert (newest, pinned) == (0, 0)
    assert (tmp_path / "a" / one.filename).exists()
    assert "broken <b>" in told


@needs_uv
async def test_uv_installs_twice_and_asks_whether_anything_changed(
    index: FakeIndex, sync: SyncPypi, mirror: str, tmp_path: Path
) -> None:
    one, two, leaf = some_wheels()
    index.put("fx-main", one, two)
    index.put("fx-leaf", leaf)
    await sync()

    for target in ("first", "second"):
        status, out = await said(
            *("uv", "pip", "install", "--target", target, "--index-url", mirror, "fx-main"),
            folder=tmp_path,
        )
        assert status == 0, out
        assert (tmp_path / target / "fx_leaf.py").exists()


async def test_pages_come_as_the_client_likes_them(
    index: FakeIndex, sync: SyncPypi, client: Client
) -> None:
    one, two, leaf = some_wheels()
    index.put("fx-main", one, two)
    index.put("Fx_Leaf", leaf)
    await sync()

    plain = await client.get("/py/simple/fx-main/")
    json = await client.get("/py/simple/fx-main/", {"Accept": JSON})
    latest = await client.get(
        "/py/simple/", {"Accept": "application/vnd.pypi.simple.latest+json, text/html;q=0.1"}
    )
    moved = await client.get("/py/simple/Fx.Main")
    absent = await client.get("/py/simple/other/")

    assert plain.headers["content-type"].startswith("text/html")
    assert json.headers["content-type"] == JSON
    assert "Accept" in json.headers["vary"].split(", ")
    assert json.headers["x-pypi-last-serial"] == "1"
    assert plain.headers["etag"] != json.headers["etag"]
    assert latest.headers["content-type"] == JSON
    assert b'"fx-leaf"' in latest.body
    assert (moved.status, absent.status) == (301, 404)


@needs_pip
async def test_pip_installs_from_an_export_that_a_plain_server_serves(
    index: FakeIndex, sync: SyncPypi, engine: Engine, tmp_path: Path
) -> None:
    one, two, leaf = some_wheels()
    index.put("fx-main", one, two)
    index.put("Fx_Leaf", leaf)
    await sync()

    _, report = await export_version(engine, "py", tmp_path / "out", kinds=[SOURCE])
    with serving(tmp_path / "out") as url:
        status, out = await pip(
            *("install", "--target", "into", "fx-main"), index_url=f"{url}/simple/", folder=tmp_path
        )

    assert status == 0, out
    assert report.files == 3 + 3 + 6
    assert (tmp_path / "into/fx_leaf.py").exists()
