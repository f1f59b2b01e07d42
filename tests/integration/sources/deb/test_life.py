"""Versions of Debian mirrors through their life: planned, rolled back, promoted, renewed."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowsync import DeclarativeVersion, Engine, Remote, Repository, library
from flowsync.sources.deb.stage import DebFirstStage
from scripts.debian_archive import package
from tests.integration.serve.conftest import Client
from tests.integration.serve.conftest import client as client
from tests.integration.sources.deb.conftest import (
    Apt,
    Archive,
    SyncDeb,
    needs,
    new_key,
    some_packages,
)

IN_RELEASE = "/debian/dists/one/InRelease"


@pytest.fixture
def own(tmp_path: Path) -> tuple[str, Path]:
    """Give the setting of a mirror's key, and its certificate's file."""
    import pysequoia

    key = pysequoia.Tsk.generate("Mirror <mirror@example.org>")
    secret, public = tmp_path / "mirror.key", tmp_path / "mirror.asc"
    secret.write_text(str(key))
    public.write_text(str(key.extract_certificate()))
    return str(secret), public


async def root_of(engine: Engine, name: str = "debian") -> str | None:
    return (await library.version(engine, name)).root


@needs("apt-get")
async def test_what_is_kept_with_its_dependencies_can_be_installed_from_the_mirror_alone(
    archive: Archive, sync: SyncDeb, mirror: str, own: tuple[str, Path], tmp_path: Path
) -> None:
    archive.write(
        [
            *(package(f"other-{number}") for number in range(3)),
            package("app", Depends="virtual | nothing, tool (>= 1.0)", Pre_Depends="early"),
            package("tool", "2.0", Depends="deep"),
            package("tool", "0.5"),
            package("deep"),
            package("early"),
            package("provider", Provides="virtual"),
        ]
    )
    await sync(include=("app",), with_dependencies=True, latest=1, sign=own[0])
    apt = Apt(tmp_path / "apt", f"{mirror}/debian one main", own[1])

    updated = await apt.get("update")
    installed = await apt.get("-s", "install", "app")
    other = await apt.get("-s", "install", "other-1")

    assert (updated.status, installed.status, other.status) == (0, 0, 100), updated + installed
    assert "\nW:" not in updated
    names = set(re.findall("^Inst (\\S+)", installed, re.MULTILINE))
    assert names == {"app", "tool", "deep", "early", "provider"}


@pytest.mark.parametrize("renders", [True, False])
async def test_a_plan_and_the_syncs_of_two_homes_come_to_one_root(
    archive: Archive,
    sync: SyncDeb,
    engine: Engine,
    own: tuple[str, Path],
    renders: bool,
) -> None:
    archive.write(some_packages())
    options = {"sections": ("misc",), "sign": own[0]} if renders else {}
    remote = Remote(name="debian", url=archive.url, max_retries=0)
    stage = DebFirstStage(remote, archive.options(**options), pauses=(0.0,))
    plan = await DeclarativeVersion(
        stage, Repository(name="debian"), mirror=True, engine=engine
    ).aplan()
    asked = {seen.target for seen in archive.upstream.requests()}

    await sync(**options)
    await sync(name="again", **options)

    assert plan.root == await root_of(engine) == await root_of(engine, "again")
    assert not [path for path in asked if path.endswith(".deb")]


@needs("apt-get")
async def test_apt_keeps_the_newer_list_after_a_rollback_and_finds_its_packages(
    archive: Archive, sync: SyncDeb, engine: Engine, mirror: str, tmp_path: Path
) -> None:
    at = datetime.now(UTC) - timedelta(hours=2)
    archive.write([package("old"), package("alpha")], date=at)
    await sync()
    archive.write([package("new"), package("alpha")], date=at + timedelta(hours=1))
    await sync()
    apt = Apt(tmp_path / "apt", f"{mirror}/debian one main", archive.keyring)
    pinned = Apt(tmp_path / "pinned", f"{mirror}/debian@1 one main", archive.keyring)
    assert (await apt.get("update")).status == 0

    await library.roll_back(engine, "debian", 1)
    updated = await apt.get("update")
    new = await apt.get("download", "new")

    assert (updated.status, new.status) == (0, 0), updated + new
    assert (await pinned.get("update")).status == 0
    assert (await pinned.get("download", "old")).status == 0
    assert (await pinned.get("download", "new")).status == 100


async def test_a_promoted_suite_is_the_same_and_asks_nothing_of_upstream(
    archive: Archive, sync: SyncDeb, engine: Engine, client: Client
) -> None:
    archive.write(some_packages())
    await sync()
    before = archive.upstream.count()

    await library.promote(engine, "debian", "stable")

    assert archive.upstream.count() == before
    assert await root_of(engine) == await root_of(engine, "stable")
    for path in ("dists/one/InRelease", some_packages()[0].path):
        one, other = [await client.get(f"/{name}/{path}") for name in ("debian", "stable")]
        assert (one.status, one.body) == (other.status, other.body) == (200, one.body)


async def test_a_list_of_the_mirrors_own_is_renewed_when_half_of_its_time_is_over(
    archive: Archive, sync: SyncDeb, client: Client, own: tuple[str, Path]
) -> None:
    archive.write(some_packages(), date=datetime.now(UTC) - timedelta(days=1))

    first = await sync(sign=own[0], valid_for="3d")
    again = await sync(sign=own[0], valid_for="3d")
    shorter = await sync(sign=own[0], valid_for="1d")
    body = (await client.get(IN_RELEASE)).body.decode()

    assert (first.version, again.skipped, shorter.version) == (1, True, 2)
    until = re.search("^Valid-Until: (.*) UTC$", body, re.MULTILINE)
    assert until is not None
    ends = datetime.strptime(until[1], "%a, %d %b %Y %H:%M:%S").replace(tzinfo=UTC)
    assert ends > datetime.now(UTC) + timedelta(hours=12)


async def test_a_filter_without_a_mirror_is_refused(
    archive: Archive, sync: SyncDeb, own: tuple[str, Path]
) -> None:
    archive.write(some_packages())

    with pytest.raises(Exception, match="--mirror"):
        await sync(latest=1, sign=own[0], how={"mirror": False})


async def test_another_filter_is_not_skipped(
    archive: Archive, sync: SyncDeb, own: tuple[str, Path]
) -> None:
    archive.write(some_packages())

    results = [
        await sync(sections=sections, sign=own[0])
        for sections in (("misc",), ("misc",), ("libs",), ("misc", "libs"))
    ]

    assert [result.skipped for result in results] == [False, True, False, False]
    assert [result.version for result in results] == [1, None, 2, 3]


async def test_another_key_signs_the_same_list_in_a_version_of_its_own(
    archive: Archive, sync: SyncDeb, client: Client, own: tuple[str, Path], tmp_path: Path
) -> None:
    import pysequoia

    archive.write(some_packages())
    await sync(sign=own[0])
    one = (await client.get("/debian/flowsync.asc")).body
    other = tmp_path / "other.key"
    other.write_text(str(pysequoia.Tsk.generate("Other <other@example.org>")))

    changed = await sync(sign=str(other))

    assert changed.version == 2
    assert (await client.get("/debian/flowsync.asc")).body != one
    assert (await client.get("/debian@1/flowsync.asc")).body == one


async def test_the_key_is_neither_recorded_nor_told(
    archive: Archive,
    sync: SyncDeb,
    engine: Engine,
    own: tuple[str, Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive.write(some_packages())
    secret = Path(own[0]).read_text()
    monkeypatch.setenv("MIRROR_KEY", secret)

    await sync(sign="env:MIRROR_KEY")

    inside = secret.splitlines()[6]
    async with engine.catalog.database.connection() as connection:
        for table in ("repository", "run", "repository_version", "content"):
            rows = await (await connection.execute(f"SELECT t::text FROM {table} t")).fetchall()  # noqa: S608 - tables of this list
            assert not [row for row in rows if inside in str(row)]
    assert inside not in caplog.text


async def test_an_unreadable_key_is_told_before_anything_is_asked(
    archive: Archive, sync: SyncDeb, tmp_path: Path
) -> None:
    archive.write(some_packages())
    public = tmp_path / "public.asc"
    public.write_bytes(new_key().public_key)

    for setting in (str(tmp_path / "missing"), "env:NOT_SET", str(public)):
        with pytest.raises(Exception, match="sign"):
            await sync(sign=setting)
    assert archive.upstream.count() == 0
