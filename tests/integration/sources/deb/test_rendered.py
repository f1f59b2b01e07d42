"""Mirrors that keep some of an archive, with indexes and a key of their own."""

from pathlib import Path

from scripts.debian_archive import package
from tests.integration.serve.conftest import Client
from tests.integration.serve.conftest import client as client
from tests.integration.sources.deb.conftest import (
    Apt,
    Archive,
    SyncDeb,
    needs,
    some_packages,
)
from tests.integration.sources.deb.test_indexes import write_index


def own_key(tmp_path: Path) -> tuple[str, Path]:
    """Return the setting of a mirror's key, and its certificate's file."""
    import pysequoia

    key = pysequoia.Tsk.generate("Mirror <mirror@example.org>")
    secret, public = tmp_path / "mirror.key", tmp_path / "mirror.asc"
    secret.write_text(str(key))
    public.write_text(str(key.extract_certificate()))
    return str(secret), public


@needs("apt-get")
async def test_apt_takes_a_filtered_mirror_by_its_key_and_not_by_upstreams(
    archive: Archive, sync: SyncDeb, mirror: str, tmp_path: Path
) -> None:
    archive.write(some_packages())
    secret, public = own_key(tmp_path)
    await sync(sections=("libs",), sign=secret)
    right = Apt(tmp_path / "right", f"{mirror}/debian one main", public)
    wrong = Apt(tmp_path / "wrong", f"{mirror}/debian one main", archive.keyring)

    updated, refused = await right.get("update"), await wrong.get("update")
    libx, alpha = await right.get("download", "libx"), await right.get("download", "alpha")

    assert (updated.status, libx.status) == (0, 0), updated
    assert alpha.status == 100
    assert refused.status == 100
    assert "NO_PUBKEY" in refused


async def test_kept_paragraphs_stay_byte_for_byte(
    archive: Archive, sync: SyncDeb, client: Client, tmp_path: Path
) -> None:
    import lzma

    some = some_packages()
    archive.write(some)
    secret, _ = own_key(tmp_path)

    result = await sync(include=("alpha", "libx"), sign=secret)
    served = await client.get("/debian/dists/one/main/binary-amd64/Packages.xz")

    assert lzma.decompress(served.body).decode() == f"{some[0].paragraph}\n{some[2].paragraph}\n"
    assert result.present == 2 + 2 + 1 + 1  # packages, indexes, the list, the key


async def test_a_second_rendering_of_the_same_makes_no_version(
    archive: Archive, sync: SyncDeb, tmp_path: Path
) -> None:
    archive.write(some_packages())
    secret, _ = own_key(tmp_path)
    first = await sync(latest=1, sign=secret)

    again = await sync(latest=1, sign=secret, how={"force": True})

    assert first.version is not None
    assert again.version is None


async def test_dependencies_of_what_is_kept_stay(
    archive: Archive, sync: SyncDeb, client: Client, tmp_path: Path
) -> None:
    archive.write(some_packages())
    secret, _ = own_key(tmp_path)

    await sync(include=("alpha",), with_dependencies=True, sign=secret)

    assert (await client.get("/debian/pool/main/l/libx/libx_0.9_all.deb")).status == 200
    assert (await client.get("/debian/pool/main/b/beta/beta_2.0_all.deb")).status == 404
    key = await client.get("/debian/flowsync.asc")
    assert b"PUBLIC KEY" in key.body


async def test_what_could_not_be_had_is_not_listed(
    archive: Archive, sync: SyncDeb, client: Client, tmp_path: Path
) -> None:
    import lzma

    archive.write(some_packages())
    (archive.root / "pool/main/b/beta/beta_2.0_all.deb").unlink()
    secret, _ = own_key(tmp_path)

    await sync(sign=secret, how={"on_error": "skip"})
    served = await client.get("/debian/dists/one/main/binary-amd64/Packages.xz")

    assert b"Package: beta" not in lzma.decompress(served.body)
    assert b"Package: alpha" in lzma.decompress(served.body)


async def test_of_two_files_at_one_path_the_one_that_was_taken_is_listed(
    archive: Archive, sync: SyncDeb, client: Client, tmp_path: Path
) -> None:
    import lzma

    one, other = package("alpha"), package("alpha", Homepage="http://example.org/")
    archive.write([*some_packages()[1:], one])
    texts = [each.paragraph for each in (one, *some_packages()[1:], other)]
    write_index(archive, "".join(f"{text}\n" for text in texts))
    secret, _ = own_key(tmp_path)

    await sync(sign=secret, how={"on_error": "skip"})
    served = await client.get("/debian/dists/one/main/binary-amd64/Packages.xz")

    assert lzma.decompress(served.body).decode() == "".join(f"{text}\n" for text in texts[:-1])
