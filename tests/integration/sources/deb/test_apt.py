"""apt and its relatives, as clients of a mirror."""

from pathlib import Path

import pysequoia

from scripts.debian_archive import package
from tests.integration.sources.deb.conftest import (
    Apt,
    Archive,
    SyncDeb,
    needs,
    said,
    some_packages,
)


@needs("apt-get")
async def test_apt_updates_downloads_and_installs(
    archive: Archive, sync: SyncDeb, mirror: str, tmp_path: Path
) -> None:
    archive.write(some_packages())
    await sync()
    apt = Apt(tmp_path / "apt", f"{mirror}/debian one main", archive.keyring)

    updated = await apt.get("update")
    downloaded = await apt.get("download", "alpha", "beta")
    installed = await apt.get("-s", "install", "alpha")

    assert (updated.status, downloaded.status, installed.status) == (0, 0, 0), updated
    assert "\nW:" not in updated
    assert "\nE:" not in updated
    assert "Inst libx" in installed
    assert "Inst alpha" in installed
    got = {file.name: file.read_bytes() for file in apt.root.glob("*.deb")}
    assert sorted(got.values()) == sorted(each.body for each in some_packages()[:2])


@needs("apt-get")
async def test_a_second_update_transfers_nothing(
    archive: Archive, sync: SyncDeb, mirror: str, tmp_path: Path
) -> None:
    archive.write(some_packages())
    await sync()
    apt = Apt(tmp_path / "apt", f"{mirror}/debian one main", archive.keyring)
    await apt.get("update")

    again = await apt.get("update")

    assert again.status == 0
    assert "Hit:1" in again
    assert "Get:" not in again


@needs("apt-get")
async def test_lists_that_apt_got_before_a_switch_still_lead_to_packages(
    archive: Archive, sync: SyncDeb, mirror: str, tmp_path: Path
) -> None:
    archive.write(some_packages())
    await sync()
    apt = Apt(tmp_path / "apt", f"{mirror}/debian one main", archive.keyring)
    assert (await apt.get("update")).status == 0
    archive.write([package("alpha", "2.0"), package("libx", "1.0")])
    result = await sync()

    old = await apt.get("download", "beta")

    assert result.removed > 0
    assert old.status == 0, old
    assert list(apt.root.glob("beta_2.0_all.deb"))


@needs("apt-get")
async def test_a_suite_without_dists_is_mirrored(
    archive: Archive, sync: SyncDeb, mirror: str, tmp_path: Path
) -> None:
    write_flat(archive)
    await sync(suites=("./",))
    apt = Apt(tmp_path / "apt", f"{mirror}/debian ./", archive.keyring)

    updated = await apt.get("update")
    downloaded = await apt.get("download", "beta")

    assert (updated.status, downloaded.status) == (0, 0), updated


def write_flat(archive: Archive) -> None:
    from scripts.debian_archive import write, write_suite

    some = some_packages()
    for each in some:
        write(archive.root / each.path, each.body)
    plain = "".join(f"{each.paragraph}\n" for each in some).encode()
    write_suite(archive.root, "./", {"Packages": plain}, archive.key, by_hash=False)


@needs("debootstrap", "dpkg", "wget")
async def test_debootstrap_downloads_a_base_system(
    archive: Archive, sync: SyncDeb, mirror: str, tmp_path: Path
) -> None:
    archive.write(some_packages())
    await sync()
    keyring = tmp_path / "archive.gpg"
    keyring.write_bytes(bytes(pysequoia.Cert.from_bytes(archive.key.public_key)))
    script = tmp_path / "script"
    script.write_text(
        "mirror_style release\ndownload_style apt\nfinddebs_style from-indices\n"
        "work_out_debs(){ required=alpha; base=libx; }\n"
    )

    ran = await said(
        "debootstrap",
        f"--keyring={keyring}",
        "--arch=amd64",
        "--components=main",
        "--download-only",
        "one",
        str(tmp_path / "base"),
        f"{mirror}/debian",
        str(script),
        folder=tmp_path,
    )

    assert ran.status == 0, ran
    assert len(list((tmp_path / "base/var/cache/apt/archives").glob("*.deb"))) == 2


@needs("aptly")
async def test_aptly_mirrors_the_mirror(
    archive: Archive, sync: SyncDeb, mirror: str, tmp_path: Path
) -> None:
    archive.write(some_packages())
    await sync()
    (tmp_path / "aptly.conf").write_text(
        f'{{"rootDir": "{tmp_path}/aptly", "gpgDisableVerify": true}}'
    )
    aptly = ["aptly", f"-config={tmp_path}/aptly.conf", "mirror"]

    created = await said(*aptly, "create", "m", f"{mirror}/debian", "one", folder=tmp_path)
    updated = await said(*aptly, "update", "m", folder=tmp_path)

    assert (created.status, updated.status) == (0, 0), updated
    assert len(list((tmp_path / "aptly/pool").rglob("*.deb"))) == 3
