from datetime import UTC, datetime
from pathlib import Path

import pytest
from debian import deb822
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync import MetadataError
from flowsync.sources.deb.indexes.release import (
    LARGEST,
    MOST,
    Listed,
    cleartext,
    plain_path,
    read_release,
)

A, B = "a" * 64, "b" * 64
MD5 = "d" * 32

RELEASE = f"""\
Origin: Debian
Label: Debian
Suite: stable
Codename: bookworm
Date: Sat, 11 Jan 2025 10:00:00 UTC
Valid-Until: Sat, 18 Jan 2025 10:00:00 +0000
Acquire-By-Hash: yes
Architectures: all amd64 arm64
Components: main updates/contrib
Signed-By: 0123456789abcdef0123456789abcdef01234567!,
 AAAA456789ABCDEF0123456789ABCDEF01234567
Description: Debian 12.9
MD5Sum:
 {MD5} 7 main/binary-amd64/Packages.xz
 {MD5} 5 only/md5
SHA256:
 {A}        7 main/binary-amd64/Packages.xz
\t{B}  1000 \t./main/binary-amd64/Packages
"""


def refusal(text: str | bytes) -> str:
    with pytest.raises(MetadataError) as refused:
        read_release(text if isinstance(text, bytes) else text.encode())
    said = str(refused.value)
    assert len(said) < 1500
    return said


def with_entry(entry: str) -> str:
    return f"Suite: one\nSHA256:\n {A} 7 Packages\n {entry}\n"


def test_a_release_says_what_its_suite_is() -> None:
    found = read_release(RELEASE.encode())

    assert (found.suite, found.codename, found.by_hash) == ("stable", "bookworm", True)
    assert found.components == ("main", "updates/contrib")
    assert found.architectures == ("all", "amd64", "arm64")
    assert found.date == datetime(2025, 1, 11, 10, tzinfo=UTC)
    assert found.valid_until == datetime(2025, 1, 18, 10, tzinfo=UTC)
    assert found.signed_by == (
        "0123456789ABCDEF0123456789ABCDEF01234567",
        "AAAA456789ABCDEF0123456789ABCDEF01234567",
    )


def test_indexes_are_listed_with_all_digests_if_one_of_them_is_strong() -> None:
    found = read_release(RELEASE.encode())

    assert found.algorithms == ("md5", "sha256")
    assert found.listed == {
        "main/binary-amd64/Packages.xz": Listed(
            "main/binary-amd64/Packages.xz", 7, {"md5": MD5, "sha256": A}
        ),
        "main/binary-amd64/Packages": Listed("main/binary-amd64/Packages", 1000, {"sha256": B}),
    }


def test_names_of_fields_count_in_any_case_and_line_ends_do_not() -> None:
    text = RELEASE.replace("SHA256:", "sha256 :".replace(" ", "")).replace("Suite", "SUITE")

    assert read_release(text.replace("\n", "\r\n").encode()) == read_release(RELEASE.encode())


def test_signs_that_unicode_takes_for_line_ends_are_none() -> None:
    for sign in "\x0b\x0c\x1c\x85\u2028":
        text = RELEASE.replace("Debian 12.9", f"Debian{sign}Suite: evil{sign}12.9")
        assert read_release(text.encode()).suite == "stable"


def test_a_release_is_read_as_python_debian_reads_it() -> None:
    theirs = deb822.Release(RELEASE)

    found = read_release(RELEASE.encode())

    assert {plain_path(each["name"]): each["sha256"] for each in theirs["SHA256"]} == {
        path: listed.digests["sha256"] for path, listed in found.listed.items()
    }
    assert theirs["Description"] == found.fields["description"]


def test_a_sha512_is_as_good() -> None:
    found = read_release(f"Suite: one\nSHA512:\n {'c' * 128} 7 Packages\n".encode())

    assert found.listed["Packages"].digests == {"sha512": "c" * 128}


def test_a_release_without_indexes_is_one() -> None:
    assert read_release(b"Suite: one\nSHA256:\n").listed == {}


@pytest.mark.parametrize("section", ["MD5Sum", "SHA1"])
def test_weak_digests_alone_are_refused(section: str) -> None:
    digest = "d" * (32 if section == "MD5Sum" else 40)

    assert "prove nothing" in refusal(f"Suite: one\n{section}:\n {digest} 7 Packages\n")


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a//b", "a/../../x", "a\\b", "a\0b", "..", "", "./", "a/"]
)
def test_a_path_that_leads_elsewhere_is_refused_with_its_line(path: str) -> None:
    assert refusal(with_entry(f"{B} 7 {path}")).startswith("line 4")


@pytest.mark.parametrize(
    "entry",
    [
        f"{B} 7",
        f"{B} -7 x",
        f"{B} 0x7 x",
        f"{B} {'9' * 5000} x",
        f"{MD5} 7 x",
        f"{'g' * 64} 7 x",
        f"{B} 7 Packages",
        f"{A} 8 Packages",
    ],
)
def test_an_entry_that_cannot_be_understood_is_refused_with_its_line(entry: str) -> None:
    assert refusal(with_entry(entry)).startswith("line 4")


def test_a_path_may_be_listed_twice_if_it_is_the_same() -> None:
    assert len(read_release(with_entry(f"{A} 7 Packages").encode()).listed) == 1


def test_two_sections_must_agree_on_sizes() -> None:
    text = f"Suite: one\nMD5Sum:\n {MD5} 8 Packages\nSHA256:\n {A} 7 Packages\n"

    assert "sizes [7, 8]" in refusal(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Suite: one\nsuite: two\n", "line 2: the field 'suite' is there twice"),
        (f"SHA256:\n {A} 7 a\nSuite: x\nsha256:\n {A} 7 b\n", "line 4"),
        (" goes on\n", "line 1 goes on"),
        ("<html>\n<body>no</body>\n", "line 1 is no field"),
        ("a: b\n", "no Release"),
        ("", "no Release"),
        (b"Suite: \xff\n", "not UTF-8"),
    ],
)
def test_what_is_no_release_is_refused(text: str | bytes, said: str) -> None:
    assert said in refusal(text)


def test_a_release_is_bounded() -> None:
    assert "bytes" in refusal(b"x" * (LARGEST + 1))
    many = "".join(f" {A} 7 {number}\n" for number in range(MOST + 1))
    assert f"allowed are {MOST}" in refusal(f"Suite: one\nSHA256:\n{many}")


@pytest.mark.parametrize("date", ["yesterday", "Sat, 99 Jan 2025 10:00:00 UTC", "1" * 400])
def test_a_date_that_is_none_is_refused_when_it_is_asked_for(date: str) -> None:
    found = read_release(f"Suite: one\nDate: {date}\nSHA256:\n".encode())

    with pytest.raises(MetadataError, match="Date is no date"):
        _ = found.date


LINES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [
                b"Suite: one",
                b"Date: Sat, 11 Jan 2025 10:00:00 UTC",
                b"SHA256:",
                f" {A} 7 Packages".encode(),
                f" {A} 7 ./a/../b".encode(),
                b" goes on",
                b"",
            ]
        ),
    ),
    max_size=8,
)


@settings(deadline=None)
@given(LINES)
def test_any_bytes_are_a_release_or_refused(lines: list[bytes]) -> None:
    try:
        found = read_release(b"\n".join(lines))
        _ = (found.date, found.valid_until, found.signed_by, found.components)
    except MetadataError as error:
        assert "\n" not in str(error)  # noqa: PT017 - not only that it is raised
        return
    assert not any(path.startswith(("/", "../")) or "/../" in path for path in found.listed)


@settings(deadline=None)
@given(LINES)
def test_any_bytes_are_a_signed_text_or_refused(lines: list[bytes]) -> None:
    text = b"\n".join(lines)
    for data in (text, b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + text):
        try:
            cleartext(data)
        except MetadataError:
            continue


REAL = Path("/var/lib/apt/lists")


@pytest.mark.skipif(
    not list(REAL.glob("*_InRelease")), reason="needs the lists that apt keeps of real archives"
)
def test_what_real_archives_sign_is_read() -> None:
    for path in REAL.glob("*_InRelease"):
        found = read_release(cleartext(path.read_bytes()))
        assert found.suite
        assert found.date is not None
