import gzip
import hashlib
import lzma
import os
import shutil
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync.sources.deb.cut.rendering import (
    RenderedFile,
    release_date,
    render_index,
    render_release,
    sign_release,
)
from flowsync.sources.deb.indexes.paragraphs import Paragraph, paragraphs
from flowsync.sources.deb.indexes.release import read_release
from tests.unit.packages.keys import make_key

MOMENT = datetime(2026, 3, 7, 9, 5, 2, tzinfo=UTC)
DAY = timedelta(days=1)

UPSTREAM = b"""\
Package: alpha
Version: 1:1.0~rc1+dfsg-1
Description: one
  kept   as it stands \t
 .
 to the end

package:  beta
X-Odd:\tfield

Package: gamma
Description: no line end"""


def read(text: bytes) -> list[Paragraph]:
    return [each for some in paragraphs([text]) for each in some]


def render(kept: Iterable[Paragraph], folder: Path) -> dict[str, RenderedFile]:
    files = render_index(kept, "main/binary-amd64/Packages", str(folder))
    return {file.path.rpartition("/")[2]: file for file in files}


def content(file: RenderedFile) -> bytes:
    assert file.file is not None
    return Path(file.file).read_bytes()


def release(**given: object) -> bytes:
    known: dict[str, object] = {
        "components": ["main"],
        "architectures": ["amd64"],
        "date": MOMENT,
    }
    upstream = given.pop("upstream", {})
    files = given.pop("files", [])
    return render_release(upstream, files, **{**known, **given})  # type: ignore[arg-type]


def test_paragraphs_that_are_kept_stay_byte_for_byte_in_their_order(tmp_path: Path) -> None:
    all_of_it = read(UPSTREAM)

    files = render([all_of_it[0], all_of_it[2]], tmp_path)

    cut = lzma.decompress(content(files["Packages.xz"]))
    first, _, third = UPSTREAM.split(b"\n\n")
    assert cut == first + b"\n\n" + third + b"\n\n"
    assert [each.text for each in read(cut)] == [first, third]


def test_an_index_of_all_paragraphs_is_upstreams_own(tmp_path: Path) -> None:
    upstream = UPSTREAM + b"\n\n"

    files = render(read(upstream), tmp_path)

    assert gzip.decompress(content(files["Packages.gz"])) == upstream


def test_files_are_told_by_size_and_digest_the_unpacked_form_too(tmp_path: Path) -> None:
    files = render(read(UPSTREAM), tmp_path)

    assert list(files) == ["Packages", "Packages.xz", "Packages.gz"]
    plain = gzip.decompress(content(files["Packages.gz"]))
    bodies = [plain, content(files["Packages.xz"]), content(files["Packages.gz"])]
    assert [file.sha256 for file in files.values()] == [
        hashlib.sha256(body).hexdigest() for body in bodies
    ]
    assert [file.size for file in files.values()] == [len(body) for body in bodies]
    assert files["Packages"].file is None
    assert len(os.listdir(tmp_path)) == 2


def test_the_same_paragraphs_make_the_same_files(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found.append(render(read(UPSTREAM), tmp_path / name))

    assert [file.sha256 for file in found[0].values()] == [
        file.sha256 for file in found[1].values()
    ]


def test_an_index_of_nothing_is_empty(tmp_path: Path) -> None:
    files = render([], tmp_path)

    assert files["Packages"].size == 0
    assert lzma.decompress(content(files["Packages.xz"])) == b""
    assert gzip.decompress(content(files["Packages.gz"])) == b""


def test_a_large_index_is_written_in_pieces(tmp_path: Path) -> None:
    text = b"Package: a\n" + b"Filler: " + b"x" * 1000

    files = render((Paragraph(number, text) for number in range(5000)), tmp_path)

    assert files["Packages"].size == 5000 * (len(text) + 2)


def test_a_failure_leaves_no_unpacked_form_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="packed"):
        render_index(read(UPSTREAM), "Packages", str(tmp_path), packings=(".zst",))

    assert [name for name in os.listdir(tmp_path) if "." not in name] == []


def test_a_release_keeps_what_upstreams_says_of_origin_and_pinning() -> None:
    upstream = {
        "origin": "Debian",
        "label": "Debian",
        "suite": "stable",
        "codename": "bookworm",
        "version": "12.9",
        "notautomatic": "yes",
        "butautomaticupgrades": "yes",
        "no-support-for-architecture-all": "Packages",
        "description": "Debian 12.9",
        "date": "Sat, 11 Jan 2025 10:00:00 UTC",
        "valid-until": "Sat, 18 Jan 2025 10:00:00 UTC",
        "signed-by": "A" * 40,
        "architectures": "all amd64 arm64",
        "components": "main contrib",
        "acquire-by-hash": "no",
    }
    files = [
        RenderedFile(path="main/binary-amd64/Packages.xz", size=7, sha256="a" * 64, file="x"),
        RenderedFile(path="main/binary-amd64/Packages", size=123_456_789, sha256="b" * 64),
    ]

    text = release(upstream=upstream, files=files, architectures=["amd64", "all"])

    assert (
        text.decode()
        == f"""\
Origin: Debian
Label: Debian
Suite: stable
Version: 12.9
Codename: bookworm
NotAutomatic: yes
ButAutomaticUpgrades: yes
No-Support-for-Architecture-all: Packages
Description: Debian 12.9
Date: Sat, 07 Mar 2026 09:05:02 UTC
Acquire-By-Hash: yes
Architectures: amd64 all
Components: main
SHA256:
 {"b" * 64} 123456789 main/binary-amd64/Packages
 {"a" * 64}        7 main/binary-amd64/Packages.xz
"""
    )


def test_a_release_is_read_as_it_was_meant() -> None:
    files = [RenderedFile(path="Packages.gz", size=3, sha256="c" * 64)]

    text = release(upstream={"suite": "one"}, files=files, valid_for=7 * DAY)
    found = read_release(text)

    assert (found.suite, found.by_hash, found.algorithms) == ("one", True, ("sha256",))
    assert (found.date, found.valid_until) == (MOMENT, MOMENT + 7 * DAY)
    assert found.listed["Packages.gz"].digests == {"sha256": "c" * 64}


def test_a_suite_without_components_says_none() -> None:
    assert b"Components" not in release(components=())


@settings(deadline=None)
@given(st.text(max_size=40))
def test_a_field_of_upstream_stays_one_field(value: str) -> None:
    text = release(upstream={"origin": value, "signed-by": value})

    found = read_release(text.decode(errors="replace").encode())
    assert set(found.fields) <= {
        "origin",
        "date",
        "acquire-by-hash",
        "architectures",
        "components",
    }


def test_a_date_is_in_english_and_in_utc() -> None:
    east = MOMENT.astimezone(datetime.now().astimezone().tzinfo)

    assert b"\nDate: Sat, 07 Mar 2026 09:05:02 UTC\n" in release(
        upstream={"suite": "one"}, date=east
    )


def test_the_date_is_that_of_upstream_but_never_goes_back() -> None:
    assert release_date(MOMENT, None, now=MOMENT + 900 * DAY) == MOMENT
    assert release_date(MOMENT, MOMENT - DAY, now=MOMENT + DAY) == MOMENT
    assert release_date(MOMENT, MOMENT + DAY, now=MOMENT + DAY) == MOMENT + DAY


def test_a_date_is_renewed_when_half_of_its_time_is_over() -> None:
    def found(now: datetime, before: datetime | None = None) -> datetime:
        return release_date(MOMENT, before, now=now, valid_for=14 * DAY)

    assert found(MOMENT + 6 * DAY) == MOMENT
    assert found(MOMENT + 7 * DAY) == (MOMENT + 7 * DAY).replace(minute=0, second=0)
    assert found(MOMENT + 9 * DAY, MOMENT + 5 * DAY) == MOMENT + 5 * DAY


def test_a_plan_and_its_sync_renew_to_one_date() -> None:
    now = MOMENT + 30 * DAY

    dates = {
        release_date(MOMENT, None, now=now + timedelta(minutes=minutes), valid_for=14 * DAY)
        for minutes in (0, 20, 50)
    }

    assert len(dates) == 1


def test_a_date_that_is_valid_for_minutes_is_renewed_by_the_second() -> None:
    now = MOMENT + timedelta(minutes=20, microseconds=5)

    assert release_date(MOMENT, None, now=now, valid_for=timedelta(minutes=20)) == now.replace(
        microsecond=0
    )


def test_without_a_key_a_release_is_not_signed() -> None:
    found = sign_release(b"Suite: one\n", None)

    assert (found.in_release, found.signature, found.signer) == (None, None, "")
    assert found.text_sha256 == hashlib.sha256(b"Suite: one\n").hexdigest()


@pytest.mark.skipif(shutil.which("gpgv") is None, reason="needs gpgv")
def test_gpgv_takes_what_is_signed_in_both_forms(tmp_path: Path) -> None:
    key = make_key()
    text = release(upstream={"suite": "one", "description": "- a dash"})

    found = sign_release(text, key)

    (tmp_path / "key.gpg").write_bytes(dearmoured(key.public_key, tmp_path))
    (tmp_path / "Release").write_bytes(found.text)
    assert found.in_release is not None
    assert found.signature is not None
    (tmp_path / "InRelease").write_bytes(found.in_release)
    (tmp_path / "Release.gpg").write_bytes(found.signature)
    for files in (["InRelease"], ["Release.gpg", "Release"]):
        said = gpgv(tmp_path, *files)
        assert said.returncode == 0, said.stderr
        assert found.signer == key.fingerprint
    read_back = gpgv(tmp_path, "--output", "-", "InRelease")
    assert read_back.stdout.encode().rstrip(b"\n") == text.rstrip(b"\n")
    (tmp_path / "Release").write_bytes(found.text + b"x")
    assert gpgv(tmp_path, "Release.gpg", "Release").returncode != 0


def gpgv(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["gpgv", "--keyring", str(folder / "key.gpg"), *words],
        cwd=folder,
        capture_output=True,
        check=False,
        text=True,
    )


def dearmoured(certificate: bytes, folder: Path) -> bytes:
    import pysequoia

    return bytes(pysequoia.Cert.from_bytes(certificate))
