"""Upstreams that change: between two syncs, amid one, and while a client reads the mirror."""

import asyncio
import hashlib
import itertools
import lzma
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowsync import Engine, MetadataError
from flowsync.serve.app import ContentServer, ServerLimits
from flowsync.sources.deb import SOURCE
from scripts.debian_archive import Package, package
from tests.integration.serve.conftest import Client
from tests.integration.serve.conftest import client as client
from tests.integration.sources.deb.conftest import Apt, Archive, SyncDeb, needs, some_packages
from tests.upstream.behaviours import Then
from tests.upstream.proxy import Proxy

IN_RELEASE = "/dists/one/InRelease"
PACKAGES = "/debian/dists/one/main/binary-amd64/Packages.xz"


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as running:
        yield running


def publish(archive: Archive) -> None:
    """Serve what the archive has now with entity tags that stand for the bytes."""
    for file in archive.root.rglob("*"):
        if file.is_file():
            archive.upstream.put(f"/{file.relative_to(archive.root)}", file.read_bytes())


def editions() -> Iterator[list[Package]]:
    """Yield other packages each time."""
    for number in itertools.count(1):
        yield [package("alpha", f"{number}.0"), package(f"only-{number}")]


async def listed(client: Client, path: str = PACKAGES) -> list[str]:
    """Return the names of the packages that the mirror lists."""
    text = lzma.decompress((await client.get(path)).body).decode()
    return re.findall("^Package: (.*)$", text, re.MULTILINE)


async def by_hash_of(client: Client) -> str:
    """Return the path of the index that the mirror has now by its digest."""
    digest = hashlib.sha256((await client.get(PACKAGES)).body).hexdigest()
    return f"{PACKAGES.rpartition('/')[0]}/by-hash/SHA256/{digest}"


async def test_an_unchanged_archive_costs_one_conditional_request_a_suite(
    archive: Archive, sync: SyncDeb
) -> None:
    archive.write(some_packages())
    archive.write([package("beta", "2.0")], suite="two")
    publish(archive)
    await sync(suites=("one", "two"))
    before = archive.upstream.count()

    again = await sync(suites=("one", "two"))

    asked = archive.upstream.requests()[before:]
    assert again.skipped
    assert [(seen.target, seen.status) for seen in asked] == [
        (IN_RELEASE, 304),
        ("/dists/two/InRelease", 304),
    ]


async def test_an_archive_without_tags_costs_its_list(archive: Archive, sync: SyncDeb) -> None:
    archive.write(some_packages())
    await sync()
    before = archive.upstream.count()

    again = await sync()

    assert again.skipped
    assert [seen.target for seen in archive.upstream.requests()[before:]] == [IN_RELEASE]


@pytest.mark.parametrize("missing", [("InRelease",), ("Release", "Release.gpg")])
async def test_a_suite_may_have_one_of_the_two_forms_and_is_skipped_by_it(
    archive: Archive, sync: SyncDeb, client: Client, missing: tuple[str, ...]
) -> None:
    archive.write(some_packages())
    for name in missing:
        (archive.root / "dists/one" / name).unlink()
    first = await sync()
    before = archive.upstream.count()

    again = await sync()

    assert first.version == 1
    assert again.skipped
    assert archive.upstream.count() == before + 1
    for name in ("InRelease", "Release", "Release.gpg"):
        reply = await client.get(f"/debian/dists/one/{name}")
        assert reply.status == (404 if name in missing else 200)


async def test_a_form_that_came_later_is_noticed_when_the_suite_changes(
    archive: Archive, sync: SyncDeb, client: Client
) -> None:
    archive.write(some_packages())
    (archive.root / "dists/one/InRelease").unlink()
    await sync()
    archive.write(some_packages()[:2])

    second, third = await sync(), await sync()

    assert (second.version, third.skipped) == (2, True)
    assert (await client.get("/debian/dists/one/InRelease")).status == 200


async def test_another_choice_is_not_skipped(archive: Archive, sync: SyncDeb) -> None:
    archive.write(some_packages(), architecture="amd64")
    publish(archive)
    await sync()

    other = await sync(indices=("translations",))
    same = await sync(indices=("translations",))

    assert not other.skipped
    assert other.version == 2
    assert same.skipped


@needs("apt-get")
@pytest.mark.parametrize("switches", [1, 2])
async def test_apt_reads_the_list_that_it_began_with_when_the_mirror_moves_on(
    archive: Archive, sync: SyncDeb, mirror: str, proxy: Proxy, tmp_path: Path, switches: int
) -> None:
    packages = editions()
    archive.write(next(packages))
    await sync()
    apt = Apt(tmp_path / "apt", f"{mirror}/debian one main", archive.keyring)
    proxy.hold("/by-hash/")
    updating = asyncio.create_task(
        apt.get("-o", f"Acquire::http::Proxy=http://127.0.0.1:{proxy.port}", "update")
    )
    await proxy.holds()
    for _ in range(switches):
        archive.write(next(packages))
        assert (await sync()).version
    proxy.release()

    updated = await updating
    old = await apt.get("download", "only-1")

    assert (updated.status, old.status) == (0, 0), updated + old
    assert "\nW:" not in updated
    assert "\nE:" not in updated


async def test_what_went_longer_ago_than_it_lasts_is_not_found(
    archive: Archive, sync: SyncDeb, engine: Engine
) -> None:
    packages = editions()
    async with ContentServer(engine, kinds=[SOURCE], limits=ServerLimits(lasting=0.0)) as server:
        client = Client(server.addresses[0][1])
        paths = []
        for _ in range(3):
            archive.write(next(packages))
            await sync()
            paths.append(await by_hash_of(client))

        statuses = [(await client.get(path)).status for path in paths]
        plain = (await client.get(PACKAGES.removesuffix(".xz"))).status

    assert statuses == [404, 200, 200]
    assert plain == 404


async def test_a_switch_amid_a_sync_costs_a_second_round_and_mixes_nothing(
    archive: Archive, sync: SyncDeb, client: Client
) -> None:
    archive.write([package("old")], by_hash=False)
    new = [package("new"), package("newer")]
    change = Then(lambda: archive.write(new, by_hash=False))
    archive.upstream.script(IN_RELEASE, change)

    result = await sync()

    assert result.version == 1
    assert archive.upstream.count(IN_RELEASE) == 2
    assert await listed(client) == ["new", "newer"]
    assert (await client.get(f"/debian{IN_RELEASE}")).body == (
        archive.root / "dists/one/InRelease"
    ).read_bytes()
    assert (await client.get(f"/debian/{package('old').path}")).status == 404


async def test_by_digests_a_switch_amid_a_sync_costs_no_round(
    archive: Archive, sync: SyncDeb, client: Client
) -> None:
    archive.write([package("old")])
    last = "/dists/one/Release.gpg"
    archive.upstream.script(last, Then(lambda: archive.write([package("new")])))

    await sync()

    assert archive.upstream.count(IN_RELEASE) == 1
    assert await listed(client) == ["old"]


async def test_a_suite_that_is_never_whole_ends_the_sync_after_three_rounds(
    archive: Archive, sync: SyncDeb, engine: Engine
) -> None:
    packages = editions()
    archive.write(next(packages), by_hash=False)
    change = Then(lambda: archive.write(next(packages), by_hash=False))
    archive.upstream.always(IN_RELEASE, change)

    with pytest.raises(MetadataError, match="in 3 rounds the suite was never whole"):
        await sync()

    assert (await engine.catalog.repositories.version("debian")).number == 0


@pytest.mark.parametrize("damage", ["size", "digest", "missing"])
async def test_an_index_that_stays_wrong_is_told_with_its_path_and_never_read(
    archive: Archive, sync: SyncDeb, engine: Engine, damage: str
) -> None:
    archive.write(some_packages(), by_hash=False)
    index = archive.root / "dists/one/main/binary-amd64/Packages.xz"
    data = index.read_bytes()
    if damage == "missing":
        for file in index.parent.iterdir():
            file.unlink()
    else:
        index.write_bytes(b"no index" if damage == "size" else data[:-1] + b"x")

    with pytest.raises(MetadataError, match="dists/one/main/binary-amd64/Packages") as refused:
        await sync()

    assert "the suite lists nothing else" in str(refused.value)
    if damage == "digest":
        assert hashlib.sha256(data).hexdigest() in str(refused.value)
    assert (await engine.catalog.repositories.version("debian")).number == 0


async def test_a_release_that_says_something_else_is_looked_at_twice_and_not_kept(
    archive: Archive, sync: SyncDeb, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    archive.write(some_packages())
    release = archive.root / "dists/one/Release"
    release.write_bytes(release.read_bytes().replace(b"Origin: Example", b"Origin: Another"))

    await sync()

    assert archive.upstream.count(IN_RELEASE) == 2
    assert "only InRelease is kept" in caplog.text
    assert (await client.get("/debian/dists/one/Release")).status == 404
    assert (await client.get("/debian/dists/one/InRelease")).status == 200


async def test_a_release_that_was_amid_a_switch_is_kept(
    archive: Archive, sync: SyncDeb, client: Client
) -> None:
    archive.write([package("old")])
    archive.upstream.script(IN_RELEASE, Then(lambda: archive.write([package("new")])))

    await sync()

    for name in ("InRelease", "Release", "Release.gpg"):
        reply = await client.get(f"/debian/dists/one/{name}")
        assert reply.body == (archive.root / "dists/one" / name).read_bytes()


@pytest.mark.parametrize("moved", [True, False])
async def test_indexes_of_one_content_keep_their_paths_when_one_of_them_goes(
    archive: Archive, sync: SyncDeb, client: Client, moved: bool
) -> None:
    """Both have one path by their digest, of which one unit has the file."""
    from scripts.debian_archive import write_suite

    folder = "main/i18n"
    empty = lzma.compress(b"")
    both = {f"{folder}/Translation-de.xz": empty, f"{folder}/Translation-fr.xz": empty}
    one = {name: data for name, data in both.items() if name.endswith("fr.xz")}
    write_suite(archive.root, "one", both, archive.key)
    await sync()
    write_suite(archive.root, "one", one if moved else {**one, **both}, archive.key)

    await sync()

    digest = hashlib.sha256(empty).hexdigest()
    for name in ("Translation-fr.xz", f"by-hash/SHA256/{digest}"):
        assert (await client.get(f"/debian/dists/one/{folder}/{name}")).status == 200
