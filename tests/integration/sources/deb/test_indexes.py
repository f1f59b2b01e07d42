"""Indexes that are odd, hostile, or not there."""

import bz2
import gzip
import hashlib
import lzma
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from flowsync import Engine, MetadataError
from scripts.debian_archive import Package, package, write, write_suite
from tests.integration.serve.conftest import Client
from tests.integration.serve.conftest import client as client
from tests.integration.sources.deb.conftest import Apt, Archive, SyncDeb, needs, some_packages
from tests.integration.sync.conftest import paths
from tests.upstream.behaviours import Redirect

zstandard = pytest.importorskip("zstandard")

FOLDER = "main/binary-amd64"
BOMB = 120_000_000
"""Bytes that a bomb unpacks to."""


def write_index(archive: Archive, text: str | bytes) -> None:
    """Write a suite with one index of packages."""
    packed = lzma.compress(text.encode() if isinstance(text, str) else text)
    write_suite(archive.root, "one", {f"{FOLDER}/Packages.xz": packed}, archive.key)


async def refusal(sync: SyncDeb, engine: Engine, **options: object) -> str:
    """Return why a sync is refused, which leaves no version."""
    with pytest.raises(MetadataError) as refused:
        await sync(**options)
    assert (await engine.catalog.repositories.version("debian")).number == 0
    return str(refused.value)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("../../etc/passwd", "contains '..'"),
        ("pool/../../x.deb", "contains '..'"),
        ("/etc/passwd", "is absolute"),
        ("pool//x.deb", "contains an empty"),
        ("pool\\x.deb", "contains a backslash"),
        ("pool/x\x00.deb", "NUL"),
        ("pool/x\x1b[31m.deb", "contains a control character"),
        ("dists/one/InRelease", "is that of an index"),
        ("./dists/one/main/binary-amd64/Packages", "is that of an index"),
        ("InRelease", "is that of an index"),
        ("flowsync.asc", "is that of an index"),
        ("pool/" + "x" * 300, "has a segment of more than 255 bytes"),
    ],
)
async def test_a_path_that_leads_elsewhere_is_refused_with_its_paragraph(
    archive: Archive, sync: SyncDeb, engine: Engine, path: str, problem: str
) -> None:
    some = [*some_packages(), package("evil")._replace(path=path)]
    write_index(archive, "".join(f"{each.paragraph}\n" for each in some))

    said = await refusal(sync, engine)

    assert f"/dists/one/{FOLDER}/Packages.xz: paragraph 4: " in said
    assert problem in said
    assert await paths(engine, "debian") == {}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("SHA256: ", "SHA256: zz"), "is no sha256 digest"),
        (lambda text: re.sub("SHA256: .*\n", "MD5sum: abc\n", text), "neither SHA256 nor SHA512"),
        (lambda text: re.sub("Size: .*", "Size: -1", text), "is no size"),
        (lambda text: re.sub("Filename: .*\n", "", text), "it has no Filename"),
        (lambda text: text.replace("Version: ", "Version: 9\nversion: "), "a field is there twice"),
        (lambda text: text.replace("Package: ", "Package: \udcff"), "is not UTF-8"),
        (lambda text: "<html>no index</html>\n", "it has no Filename"),
    ],
)
async def test_a_paragraph_that_says_nothing_clear_is_refused_with_its_number(
    archive: Archive,
    sync: SyncDeb,
    engine: Engine,
    change: Callable[[str], str],
    problem: str,
) -> None:
    good, bad = some_packages()[:2]
    text = f"{good.paragraph}\n{change(bad.paragraph)}\n"
    write_index(archive, text.encode(errors="surrogateescape"))

    said = await refusal(sync, engine)

    assert "paragraph 2" in said
    assert problem in said


@lru_cache
def bomb(packing: str) -> bytes:
    """Return zeros, packed."""
    zeros = bytes(1 << 20)
    packers: dict[str, Callable[[bytes], bytes]] = {
        ".gz": lambda data: gzip.compress(data, mtime=0),
        ".bz2": bz2.compress,
        ".xz": lambda data: lzma.compress(data, preset=1),
    }
    if packing == ".zst":
        with_size = zstandard.ZstdCompressor(write_content_size=False).compressobj()
        packed = b"".join(with_size.compress(zeros) for _ in range(BOMB >> 20))
        return packed + with_size.flush()
    if packing == ".xz":
        packer = lzma.LZMACompressor(preset=1)
        return b"".join(packer.compress(zeros) for _ in range(BOMB >> 20)) + packer.flush()
    # Members one behind the other unpack to all of them.
    return packers[packing](zeros) * (BOMB >> 20)


def peak() -> int:
    """Return the most bytes that this process had in memory since `reset`."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) << 10  # type: ignore[index]


def reset_peak() -> int:
    """Begin to measure anew, and return what is in memory now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


@pytest.mark.parametrize("packing", [".xz", ".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("listed", [None, 5_000_000])
async def test_a_bomb_is_stopped_early(
    archive: Archive, sync: SyncDeb, engine: Engine, packing: str, listed: int | None
) -> None:
    """Of what is listed at its size when unpacked, at that; of others, by their ratio."""
    packed = bomb(packing)
    write_suite(archive.root, "one", {f"{FOLDER}/Packages{packing}": packed}, archive.key)
    if listed is not None:
        text = (archive.root / "dists/one/Release").read_text()
        sha256 = hashlib.sha256(b"").hexdigest()
        text += f" {sha256} {listed} {FOLDER}/Packages\n"
        write(archive.root / "dists/one/Release", text.encode())
        write(archive.root / "dists/one/InRelease", archive.key.sign_clear(text.encode()))
    before = reset_peak()

    said = await refusal(sync, engine, keyring=None, verify=False)

    assert f"Packages{packing}: " in said
    assert "unpack" in said
    assert peak() - before < BOMB / 2


async def test_an_index_that_is_torn_is_refused(
    archive: Archive, sync: SyncDeb, engine: Engine
) -> None:
    torn = lzma.compress(some_packages()[0].paragraph.encode())[:-30]
    write_suite(archive.root, "one", {f"{FOLDER}/Packages.xz": torn}, archive.key)

    assert "Packages.xz: " in await refusal(sync, engine)


async def test_one_path_with_two_digests_is_told_with_both_places(
    archive: Archive, sync: SyncDeb, engine: Engine, client: Client
) -> None:
    one, other = package("alpha"), package("alpha", Homepage="http://example.org/")
    archive.write([*some_packages()[1:], one], suite="one")
    text = "".join(f"{each.paragraph}\n" for each in (*some_packages()[1:], one, other))
    write_index(archive, text)

    said = await refusal(sync, engine)
    result = await sync(how={"on_error": "skip"})

    where = f"dists/one/{FOLDER}/Packages"
    assert f"paragraph 4 of {where}" in said
    assert f"paragraph 3 of {where}" in said
    assert result.version == 1
    assert (await client.get(f"/debian/{one.path}")).body == one.body


async def test_one_path_with_two_digests_in_two_suites_is_told(
    archive: Archive, sync: SyncDeb, engine: Engine
) -> None:
    archive.write([package("alpha", Homepage="http://example.org/")])
    archive.write([package("alpha")], suite="two")

    said = await refusal(sync, engine, suites=("one", "two"))

    assert "dists/one/" in said
    assert "dists/two/" in said


async def test_equal_paragraphs_in_two_indexes_are_one_package(
    archive: Archive, sync: SyncDeb, engine: Engine
) -> None:
    archive.write(some_packages() * 2)
    archive.write(some_packages(), suite="two")

    await sync(suites=("one", "two"))

    assert sum(path.endswith(".deb") for path in await paths(engine, "debian")) == 3


@pytest.mark.parametrize("policy", ["immediate", "on_demand"])
async def test_packings_that_are_listed_and_not_there_leave_no_trace(
    archive: Archive, sync: SyncDeb, engine: Engine, client: Client, policy: str
) -> None:
    archive.write(some_packages())
    folder = archive.root / "dists/one" / FOLDER
    text = (archive.root / "dists/one/Release").read_text()
    more = f" {'1' * 64} 7 {FOLDER}/Packages.bz2\n {'2' * 64} 7 main/Contents-amd64.gz\n"
    write(archive.root / "dists/one/InRelease", archive.key.sign_clear(f"{text}{more}".encode()))
    (archive.root / "dists/one/Release").unlink()
    (folder / "Packages").unlink()

    await sync({"policy": policy}, indices=("packages", "contents"))

    if policy == "immediate":
        names = [
            path.rpartition("/")[2] for path, stored in (await paths(engine, "debian")).items()
        ]
        assert not [name for name in names if name in {"Packages.bz2", "Contents-amd64.gz"}]
        assert await engine.catalog.repositories.missing_artifacts("debian") == 0
    assert (await client.get(f"/debian/dists/one/{FOLDER}/Packages.xz")).status == 200
    assert (await client.get(f"/debian/dists/one/{FOLDER}/Packages.bz2")).status >= 400
    assert (await client.get(f"/debian/{some_packages()[0].path}")).status == 200


async def test_packages_for_all_architectures_come_with_each(
    archive: Archive, sync: SyncDeb, client: Client
) -> None:
    common, own, other = (
        package("common"),
        package("own", architecture="amd64"),
        package("other", architecture="arm64"),
    )
    indexes = {}
    for each, architecture in ((common, "all"), (own, "amd64"), (other, "arm64")):
        write(archive.root / each.path, each.body)
        text = f"{each.paragraph}\n".encode()
        indexes[f"main/binary-{architecture}/Packages.gz"] = gzip.compress(text, mtime=0)
    indexes["main/binary-s390x/Packages"] = b""
    architectures = "all amd64 arm64 s390x"
    write_suite(archive.root, "one", indexes, archive.key, Architectures=architectures)

    await sync(architectures=("amd64", "s390x"))

    statuses = [(await client.get(f"/debian/{each.path}")).status for each in (common, own, other)]
    assert statuses == [200, 200, 404]
    empty = await client.get("/debian/dists/one/main/binary-s390x/Packages")
    assert (empty.status, empty.body) == (200, b"")


async def test_a_component_or_architecture_that_is_not_there_is_told_with_those_that_are(
    archive: Archive, sync: SyncDeb, engine: Engine
) -> None:
    archive.write(some_packages())

    component = await refusal(sync, engine, components=("mian",))
    architecture = await refusal(sync, engine, architectures=("amd46",))

    assert "there is no component 'mian'; there are main" in component
    assert "there is no architecture 'amd46'; there are amd64" in architecture


@needs("apt-get")
async def test_a_list_that_comes_by_redirects_is_taken(
    archive: Archive, sync: SyncDeb, mirror: str, tmp_path: Path
) -> None:
    archive.write(some_packages())
    data = (archive.root / "dists/one/InRelease").read_bytes()
    archive.upstream.put("/elsewhere/4711", data)
    archive.upstream.always("/dists/one/InRelease", Redirect("/elsewhere/4711"))
    await sync()
    apt = Apt(tmp_path / "apt", f"{mirror}/debian one main", archive.keyring)

    assert (await apt.get("update")).status == 0


async def test_files_are_called_what_they_are(
    archive: Archive, sync: SyncDeb, client: Client
) -> None:
    archive.write(some_packages())
    await sync()
    deb: Package = some_packages()[0]

    types = {
        name: (await client.get(f"/debian/{name}")).headers["content-type"]
        for name in ("dists/one/InRelease", "dists/one/Release.gpg", deb.path)
    }
    packed = await client.get(
        f"/debian/dists/one/{FOLDER}/Packages.gz", {"Accept-Encoding": "gzip"}
    )

    assert types == {
        "dists/one/InRelease": "text/plain; charset=utf-8",
        "dists/one/Release.gpg": "application/pgp-signature",
        deb.path: "application/vnd.debian.binary-package",
    }
    assert "content-encoding" not in packed.headers


@pytest.mark.parametrize(
    "path",
    ["Packages.xz", "./Packages", "sub/Sources.gz", "by-hash/SHA256/0", "a/by-hash/MD5Sum/0"],
)
async def test_a_package_in_the_place_of_an_index_is_refused_without_suites_too(
    archive: Archive, sync: SyncDeb, engine: Engine, path: str
) -> None:
    evil = package("evil")._replace(path=path)
    write_suite(archive.root, "./", {"Packages": f"{evil.paragraph}\n".encode()}, archive.key)

    said = await refusal(sync, engine, suites=("./",))

    assert "paragraph 1: " in said
    assert "is that of an index" in said
