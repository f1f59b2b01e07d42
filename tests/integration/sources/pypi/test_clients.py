"""pip and uv as clients of a mirror."""

import sys
from pathlib import Path

import pytest

from flowsync import Engine, export_version
from flowsync.sources.pypi import SOURCE
from flowsync.sources.pypi.pages.page import HTML_TYPE
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


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("application/x-unheard-of", "text/html; charset=utf-8"),
        (JSON, JSON),
        (HTML_TYPE, HTML_TYPE),
        ("application/vnd.pypi.simple.latest+html", HTML_TYPE),
        (f"{JSON}, {HTML_TYPE}; q=0.1, text/html; q=0.01", JSON),
        (f"{JSON};q=0.1, text/html", "text/html; charset=utf-8"),
        (f"{JSON};q=0, {HTML_TYPE};q=0.2", HTML_TYPE),
    ],
)
async def test_each_kind_of_page_has_an_entity_tag_of_its_own_and_is_not_sent_twice(
    index: FakeIndex, sync: SyncPypi, client: Client, accept: str | None, kind: str
) -> None:
    index.put("fx-main", some_wheels()[0])
    await sync()
    wanted = {} if accept is None else {"Accept": accept}

    for path in ("/py/simple/", "/py/simple/fx-main/"):
        found = await client.get(path, wanted)
        again = await client.get(path, {**wanted, "If-None-Match": found.headers["etag"]})
        other = "text/html" if kind == JSON else JSON
        crossed = await client.get(path, {"Accept": other, "If-None-Match": found.headers["etag"]})

        assert (found.status, found.headers["content-type"]) == (200, kind)
        assert "Accept" in found.headers["vary"].split(", ")
        assert (again.status, crossed.status) == (304, 200)


@needs_pip
async def test_pip_holds_files_against_hashes_and_finds_versions(
    index: FakeIndex, sync: SyncPypi, mirror: str, tmp_path: Path
) -> None:
    one, two, leaf = some_wheels()
    index.put("fx-main", one)
    index.put("fx-leaf", leaf)
    await sync()
    index.put("fx-main", one, two)
    await sync()
    (tmp_path / "good.txt").write_text(
        f"fx-main==1.0 --hash=sha256:{one.sha256}\nfx-leaf==1.5 --hash=sha256:{leaf.sha256}\n"
    )
    (tmp_path / "bad.txt").write_text(f"fx-leaf==1.5 --hash=sha256:{one.sha256}\n")
    first = mirror.replace("/py/", "/py@1/")

    for words, at, expected, word in (
        (("download", "--require-hashes", "-r", "good.txt", "-d", "got"), first, 0, ""),
        (("download", "--require-hashes", "-r", "bad.txt", "-d", "not"), mirror, 1, "hash"),
        (("index", "versions", "fx-main"), mirror, 0, "2.0, 1.0"),
        (("index", "versions", "fx-main"), first, 0, "1.0"),
        (("download", "fx-main==2.0", "-d", "not"), first, 1, "2.0"),
    ):
        status, out = await pip(*words, index_url=at, folder=tmp_path)
        assert status == expected, out
        assert word in out
    assert {file.name for file in (tmp_path / "got").iterdir()} == {one.filename, leaf.filename}


@needs_uv
async def test_uv_compiles_locks_syncs_by_hash_and_looks_at_times(
    index: FakeIndex, sync: SyncPypi, mirror: str, tmp_path: Path
) -> None:
    one, two, leaf = some_wheels()
    index.put("fx-main", one, two)
    index.put("fx-leaf", leaf)
    await sync()
    (tmp_path / "wanted.in").write_text("fx-main\n")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["fx-main"]\n'
    )
    at = ("--index-url", mirror, "--no-cache")
    pins = ("--generate-hashes", "-o", "pins.txt")
    python = ("--python", sys.executable)
    environment = [
        (("uv", "venv", *python, "made"), 0),
        (("uv", "pip", "compile", *python, *at, *pins, "wanted.in"), 0),
        (("uv", "pip", "sync", "-p", "made/bin/python", *at, "--require-hashes", "pins.txt"), 0),
        (("uv", "lock", *python, *at), 0),
        (("uv", "pip", "compile", *python, *at, "--exclude-newer", "2023-12-31", "wanted.in"), 1),
    ]

    for words, expected in environment:
        status, out = await said(*words, folder=tmp_path)
        assert status == expected, out

    assert f"sha256:{two.sha256}" in (tmp_path / "pins.txt").read_text()
    assert leaf.sha256 in (tmp_path / "uv.lock").read_text()
    assert list((tmp_path / "made").glob("lib/python*/site-packages/fx_leaf.py"))
