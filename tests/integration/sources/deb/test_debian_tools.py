"""Archives that reprepro, aptly and apt-ftparchive made, mirrored whole, and their clients."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from flowsync import Engine
from tests.integration.serve.conftest import Client
from tests.integration.serve.conftest import client as client
from tests.integration.sources.deb.archives import (
    Gpg,
    gpg,
    include,
    make_aptly,
    make_flat,
    make_reprepro,
    odd_packages,
)
from tests.integration.sources.deb.conftest import Apt, SyncDeb, needs, said
from tests.upstream.server import Upstream

pytestmark = needs("gpg", "gpgconf", "reprepro", "aptly", "apt-ftparchive", "apt-get", "gpgv")

ALL = ("packages", "sources", "translations", "contents", "dep11", "cnf", "udebs", "installer")


class Made(NamedTuple):
    """Archives by the program that made them, and who signed them."""

    signer: Gpg
    reprepro: Path
    aptly: Path
    flat: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with gpg() as signer:
        roots = [tmp_path_factory.mktemp(name) / "root" for name in ("reprepro", "aptly", "flat")]
        make_reprepro(roots[0], signer)
        public = make_aptly(roots[1], signer)
        make_flat(roots[2], signer)
        make_flat(roots[2], signer, below="sub")
        yield Made(signer, roots[0], public, roots[2])


def files_below(root: Path, *folders: str) -> dict[str, bytes]:
    """Return the files of an archive by their paths."""
    return {
        str(file.relative_to(root)): file.read_bytes()
        for folder in folders
        for file in (root / folder).rglob("*")
        if file.is_file()
    }


async def differing(client: Client, files: dict[str, bytes]) -> list[str]:
    """Return the paths that a mirror serves otherwise, or not at all."""
    served = {path: (await client.get(f"/debian/{quote(path)}")).body for path in files}
    return sorted(path for path, body in files.items() if served[path] != body)


def apt_of(root: Path, signer: Gpg, *lines: str, architectures: str = "amd64") -> Apt:
    """Return an apt with these lines, each without what says who signs them."""
    apt = Apt(root, "", signer.keyring)
    options = f"[arch={architectures} signed-by={signer.keyring}]"
    words = (line.split(" ", 1) for line in lines)
    text = "".join(f"{kind} {options} {rest}\n" for kind, rest in words)
    (apt.root / "etc/sources.list").write_text(text)
    return apt


async def test_two_suites_of_reprepro_are_served_as_they_are(
    made: Made, sync: SyncDeb, client: Client, upstream: Upstream
) -> None:
    url = upstream.serve(made.reprepro)

    await sync({"url": url}, suites=("one", "two"), keyring=str(made.signer.keyring), indices=ALL)

    other = await differing(client, files_below(made.reprepro, "dists", "pool"))
    # Unpacked forms of what is there packed, and lists under names that apt does not know.
    kept = [path for path in other if not path.endswith(("/Packages", "/Sources"))]
    assert {path.rpartition("/")[2] for path in kept} == {
        "uContents-amd64.gz",
        "uContents-arm64.gz",
    }


async def test_a_suite_of_aptly_is_served_as_it_is_by_each_of_its_digests(
    made: Made, sync: SyncDeb, client: Client, upstream: Upstream
) -> None:
    url = upstream.serve(made.aptly)

    await sync({"url": url}, keyring=str(made.signer.keyring), indices=ALL)

    files = files_below(made.aptly, "dists", "pool")
    other = await differing(client, files)
    unpacked = {files[path] for path in files if path.endswith(("/Packages", "/Contents"))}
    # aptly keeps the newest of each under a name that nothing lists.
    names = [path for path in other if files[path] not in unpacked]
    assert all("/by-hash/" in path and len(Path(path).name) < 32 for path in names), names
    assert {
        Path(path).parent.name for path in files if "by-hash" in path and path not in other
    } == {
        "MD5Sum",
        "SHA1",
        "SHA256",
        "SHA512",
    }


async def test_gpgv_takes_the_signatures_that_are_served(
    made: Made, sync: SyncDeb, client: Client, upstream: Upstream, tmp_path: Path
) -> None:
    url = upstream.serve(made.reprepro)
    await sync({"url": url}, keyring=str(made.signer.keyring))
    for name in ("InRelease", "Release", "Release.gpg"):
        (tmp_path / name).write_bytes((await client.get(f"/debian/dists/one/{name}")).body)
    gpgv = ["gpgv", f"--keyring={made.signer.keyring}"]

    clear = await said(*gpgv, "InRelease", folder=tmp_path)
    detached = await said(*gpgv, "Release.gpg", "Release", folder=tmp_path)

    assert (clear.status, detached.status) == (0, 0), clear


@pytest.mark.parametrize("program", ["reprepro", "aptly"])
async def test_apt_downloads_names_with_epochs_pluses_and_tildes_for_two_architectures(
    made: Made, sync: SyncDeb, mirror: str, upstream: Upstream, tmp_path: Path, program: str
) -> None:
    url = upstream.serve(getattr(made, program))
    await sync({"url": url}, keyring=str(made.signer.keyring))
    apt = apt_of(
        tmp_path / "apt",
        made.signer,
        f"deb {mirror}/debian one main",
        architectures="amd64,arm64",
    )

    updated = await apt.get("update")
    both = ("-o", "APT::Architectures::=amd64", "-o", "APT::Architectures::=arm64")
    downloaded = await apt.get(*both, "download", "alpha", "libx:amd64", "libx:arm64", "g++-odd")
    installed = await apt.get("-s", "install", "alpha")

    assert (updated.status, downloaded.status, installed.status) == (0, 0, 0), (
        updated + downloaded + installed
    )
    assert "\nW:" not in updated
    assert "\nE:" not in updated
    got = sorted(file.read_bytes() for file in apt.root.glob("*.deb"))
    assert got == sorted(each.body for each in odd_packages())


async def test_apt_gets_sources_contents_and_the_files_of_a_source_package(
    made: Made, sync: SyncDeb, mirror: str, upstream: Upstream, tmp_path: Path
) -> None:
    url = upstream.serve(made.reprepro)
    await sync({"url": url}, keyring=str(made.signer.keyring), indices=("sources", "packages"))
    apt = apt_of(
        tmp_path / "apt",
        made.signer,
        f"deb {mirror}/debian one main contrib",
        f"deb-src {mirror}/debian one main contrib",
    )

    updated = await apt.get("update")
    source = await apt.get("source", "--download-only", "alpha")

    assert (updated.status, source.status) == (0, 0), updated + source
    assert (apt.root / "alpha_1.0.tar.gz").exists()


@pytest.mark.parametrize("suite", ["./", "/", "sub/"])
async def test_apt_takes_an_archive_without_suites(
    made: Made, sync: SyncDeb, mirror: str, upstream: Upstream, tmp_path: Path, suite: str
) -> None:
    url = upstream.serve(made.flat)
    await sync({"url": url}, keyring=str(made.signer.keyring), suites=(suite,))
    apt = apt_of(tmp_path / "apt", made.signer, f"deb {mirror}/debian {suite}")

    updated = await apt.get("update")
    downloaded = await apt.get("download", "alpha", "libx")
    installed = await apt.get("-s", "install", "alpha")

    assert (updated.status, downloaded.status, installed.status) == (0, 0, 0), updated
    assert "\nW:" not in updated
    assert "\nE:" not in updated
    assert len(list(apt.root.glob("*.deb"))) == 2


async def test_aptly_mirrors_a_mirror_and_believes_its_signature(
    made: Made, sync: SyncDeb, mirror: str, upstream: Upstream, tmp_path: Path
) -> None:
    url = upstream.serve(made.reprepro)
    await sync({"url": url}, keyring=str(made.signer.keyring), indices=ALL)
    (tmp_path / "aptly.conf").write_text(f'{{"rootDir": "{tmp_path}/aptly"}}')
    aptly = ["aptly", f"-config={tmp_path}/aptly.conf", "mirror"]
    believes = [f"-keyring={made.signer.keyring}"]
    home = {"GNUPGHOME": str(made.signer.home)}

    created = await said(
        *aptly,
        "create",
        *believes,
        "-with-sources",
        "-with-udebs",
        *("m", f"{mirror}/debian", "one", "main"),
        folder=tmp_path,
        **home,
    )
    updated = await said(*aptly, "update", *believes, "m", folder=tmp_path, **home)

    assert (created.status, updated.status) == (0, 0), created + updated
    pool = [file.suffix for file in (tmp_path / "aptly/pool").rglob("*") if file.is_file()]
    assert sorted(pool) == [".deb"] * 4 + [".dsc", ".gz", ".udeb"]


async def test_a_mirror_of_a_mirror_is_the_same_version(
    made: Made, sync: SyncDeb, engine: Engine, mirror: str, upstream: Upstream
) -> None:
    url = upstream.serve(made.reprepro)
    wanted = {"keyring": str(made.signer.keyring), "indices": ALL, "suites": ("one", "two")}
    await sync({"url": url}, **wanted)

    await sync({"url": f"{mirror}/debian"}, name="again", **wanted)

    one, other = [
        (await engine.catalog.repositories.version(name)).root for name in ("debian", "again")
    ]
    assert one == other


async def test_only_the_indexes_of_the_suite_that_changed_are_fetched(
    made: Made, sync: SyncDeb, client: Client, upstream: Upstream, tmp_path: Path
) -> None:
    root = tmp_path / "own" / "root"
    shutil.copytree(made.reprepro, root)
    url = upstream.serve(root)
    wanted = {"keyring": str(made.signer.keyring), "indices": ALL, "suites": ("one", "two")}
    await sync({"url": url}, **wanted)
    include(root, made.signer, "two", odd_packages()[:1])
    before = upstream.count()

    changed = await sync({"url": url}, **wanted)

    asked = [seen.target for seen in upstream.requests()[before:]]
    assert changed.version == 2
    assert [path for path in asked if path.startswith("/dists/one/")] == ["/dists/one/InRelease"]
    assert any(path.startswith("/dists/two/main/binary-amd64/") for path in asked)
    assert not [path for path in asked if path.endswith(".udeb")]
    assert not await differing(client, files_below(root, "pool"))


@needs("debootstrap")
async def test_debootstrap_believes_a_mirror_by_upstreams_key(
    made: Made, sync: SyncDeb, mirror: str, upstream: Upstream, tmp_path: Path
) -> None:
    url = upstream.serve(made.reprepro)
    await sync({"url": url}, keyring=str(made.signer.keyring))
    script = tmp_path / "script"
    script.write_text(
        "mirror_style release\ndownload_style apt\nfinddebs_style from-indices\n"
        "work_out_debs(){ required=alpha; base=libx; }\n"
    )
    words = [f"--keyring={made.signer.keyring}", "--arch=amd64", "--components=main"]
    words += ["--download-only", "one", str(tmp_path / "base"), f"{mirror}/debian", str(script)]

    ran = await said("debootstrap", *words, folder=tmp_path)

    assert ran.status == 0, ran
    got = os.listdir(tmp_path / "base/var/cache/apt/archives")
    assert len([name for name in got if name.endswith(".deb")]) == 2
