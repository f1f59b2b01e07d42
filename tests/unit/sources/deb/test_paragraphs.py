import io
from collections.abc import Iterable

import pytest
from debian import deb822
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync import MetadataError
from flowsync.sources.deb.indexes.paragraphs import (
    LONGEST,
    ListedFile,
    Paragraph,
    checksums,
    packages,
    paragraphs,
    sources,
)

A, B = "a" * 64, "b" * 64


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def split(data: bytes, size: int = 64 * 1024) -> list[bytes]:
    found = [each for some in paragraphs(pieces(data, size)) for each in some]
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    return [text for _, text in found]


def package(**changed: str | None) -> bytes:
    """A paragraph; fields whose value is None are left out, `_` in names means `-`."""
    fields: dict[str, str | None] = {
        "Package": "alpha",
        "Version": "1:1.0~rc1+b1-1",
        "Architecture": "amd64",
        "Filename": "pool/main/a/alpha_1.0~rc1+b1-1_amd64.deb",
        "Size": "1000",
        "SHA256": A,
        **changed,
    }
    return "\n".join(
        f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value is not None
    ).encode(errors="surrogateescape")


def read(*texts: bytes) -> list[ListedFile]:
    return packages([Paragraph(number, text) for number, text in enumerate(texts, 811)])


def read_sources(*texts: bytes) -> list[ListedFile]:
    return sources([Paragraph(number, text) for number, text in enumerate(texts, 811)])


# --- where paragraphs end ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"", []),
        (b"\n\r\n\n", []),
        (b"A: 1", [b"A: 1"]),
        (b"A: 1\n", [b"A: 1"]),
        (b"A: 1\n\nB: 2\n\n", [b"A: 1", b"B: 2"]),
        (b"\n\n\nA: 1\n\n\n\n\nB: 2\n\n\n", [b"A: 1", b"B: 2"]),
        (b"A: 1\r\nB: 2\r\n\r\nC: 3\r\n", [b"A: 1\r\nB: 2", b"C: 3"]),
        (b"A: 1\n\r\nB: 2", [b"A: 1", b"B: 2"]),
        (b"A: 1\n \n more\n\t\nB: 2\n\nC: 3", [b"A: 1\n \n more\n\t\nB: 2", b"C: 3"]),
        (b"A:\n kept  \n\tas it is\t\n\n", [b"A:\n kept  \n\tas it is\t"]),
    ],
)
def test_a_paragraph_ends_at_an_empty_line(data: bytes, texts: list[bytes]) -> None:
    for size in (1, 2, 3, 5, 1000):
        assert split(data, size) == texts


@settings(deadline=None)
@given(data=st.text("\n\r\t :A", max_size=60).map(str.encode), size=st.integers(1, 20))
def test_paragraphs_do_not_depend_on_how_they_arrive(data: bytes, size: int) -> None:
    assert split(data, size) == list(by_lines(data))


def by_lines(data: bytes) -> Iterable[bytes]:
    """The same, slowly: lines up to an empty one."""
    text: list[bytes] = []
    for line in [*data.lstrip(b"\r\n").split(b"\n"), b""]:
        if line.strip(b"\r"):
            text.append(line)
        elif text:
            yield b"\n".join(text).strip(b"\r\n")
            text.clear()


@pytest.mark.parametrize("before", [b"", b"Package: alpha\n\n", b"A: 1\r\n\r\nB: 2\r\n\r\n"])
def test_a_paragraph_that_does_not_end_is_refused_with_its_number(before: bytes) -> None:
    endless = (b"X: " + b"x" * (1 << 16) for _ in range(2 * LONGEST >> 16))
    read = 0

    def counted() -> Iterable[bytes]:
        nonlocal read
        yield before
        for piece in endless:
            read += len(piece)
            yield piece

    number = len(split(before)) + 1
    with pytest.raises(MetadataError, match=f"paragraph {number} is longer than {LONGEST} bytes"):
        list(paragraphs(counted()))
    assert read < LONGEST + (1 << 17)


VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)
FIELDS = st.dictionaries(
    st.from_regex(r"X-[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True),
    st.lists(VALUES, min_size=1, max_size=3).map("\n ".join),
    max_size=4,
)


@settings(deadline=None)
@given(st.lists(FIELDS, min_size=1, max_size=5), st.integers(1, 100))
def test_paragraphs_are_those_that_python_debian_reads(
    some: list[dict[str, str]], size: int
) -> None:
    data = b"\n\n".join(
        package(Package=f"p{number}", **fields) for number, fields in enumerate(some)
    )

    found = split(data, size)

    expected = list(deb822.Packages.iter_paragraphs(io.BytesIO(data), use_apt_pkg=False))
    assert [each["Package"] for each in expected] == [file.package for file in read(*found)]
    for text, theirs in zip(found, expected, strict=True):
        assert dict(deb822.Packages(text)) == dict(theirs)


# --- packages ---------------------------------------------------------------------------------


def test_a_package_is_a_file_with_size_and_digest() -> None:
    assert read(package(SHA512="c" * 128)) == [
        ListedFile(
            number=811,
            path="pool/main/a/alpha_1.0~rc1+b1-1_amd64.deb",
            size=1000,
            digests={"sha256": A, "sha512": "c" * 128},
            package="alpha",
            version="1:1.0~rc1+b1-1",
            architecture="amd64",
        )
    ]


def test_names_of_fields_count_in_any_case_and_blanks_around_values_do_not() -> None:
    text = package().replace(b"Package: ", b"PACKAGE \t:\t ").replace(b"\n", b" \r\n")

    assert read(text) == read(package())


def test_digests_in_upper_case_are_understood() -> None:
    assert read(package(SHA256=A.upper())) == read(package())


def test_a_line_that_goes_on_is_no_field() -> None:
    text = package(Description="x\n Filename: evil\n\tSize: 7\n .\n SHA256: evil")

    assert read(text) == read(package())


def test_a_package_for_all_its_fields_needs_only_one_digest() -> None:
    assert read(package(SHA256=None, SHA512="c" * 128))[0].digests == {"sha512": "c" * 128}


def test_dots_in_a_path_mean_nothing() -> None:
    assert read(package(Filename="./flat/./a.deb"))[0].path == "flat/a.deb"


@pytest.mark.parametrize(
    "path",
    [
        "../x.deb",
        "pool/../../x.deb",
        "./../x.deb",
        "/x.deb",
        "//x.deb",
        "pool//x.deb",
        "..",
        ".",
        "./",
        "pool/",
        "",
        "pool/x\0.deb",
        "pool\\x.deb",
        "pool\\..\\..\\x.deb",
        "pool/x\r.deb",
        "pool/\udcff.deb",
        "a" * 5000,
        "dists/one/InRelease",
        "./dists/one/InRelease",
        "dists/one/x.deb",
        "InRelease",
        "flat/Release.gpg",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused_with_its_paragraph(path: str) -> None:
    text = package().replace(
        b"pool/main/a/alpha_1.0~rc1+b1-1_amd64.deb", path.encode(errors="surrogateescape")
    )

    with pytest.raises(MetadataError, match="paragraph 812: ") as refused:
        read(package(), text)
    assert len(str(refused.value)) < 1500


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"Package": None}, "it has no Package"),
        ({"Version": None}, "it has no Version"),
        ({"Filename": None}, "it has no Filename"),
        ({"Size": None}, "it has no Size"),
        ({"SHA256": None}, "neither SHA256 nor SHA512"),
        ({"SHA256": None, "MD5sum": "a" * 32, "SHA1": "a" * 40}, "neither SHA256 nor SHA512"),
        ({"SHA256": "a" * 63}, "no sha256 digest"),
        ({"SHA256": "g" * 64}, "no sha256 digest"),
        ({"SHA512": A}, "no sha512 digest"),
        ({"Size": "-1"}, "no size"),
        ({"Size": "1e3"}, "no size"),
        ({"Size": "٣"}, "no size"),
        ({"Size": "9" * 5000}, "no size"),
        ({"Package": ""}, "no name"),
        ({"Package": "a b"}, "no name"),
        ({"Version": "1\x00"}, "a field holds a NUL"),
        ({"Architecture": "ä"}, "no name"),
        ({"version": "2"}, "a field is there twice"),
        ({"filename": "pool/x.deb"}, "a field is there twice"),
        ({"Version": "\udcff"}, "not UTF-8"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_paragraph(
    changed: dict[str, str | None], said: str
) -> None:
    with pytest.raises(MetadataError, match=f"paragraph 812: .*{said}") as refused:
        read(package(), package(**changed))
    assert len(str(refused.value)) < 1000


def test_fields_that_nobody_asks_for_may_hold_anything() -> None:
    assert read(package(Maintainer="J\udcf6rg", X_Odd="\0\x01")) == read(package())


@settings(deadline=None)
@given(
    order=st.permutations(package().split(b"\n")),
    path=st.from_regex(r"(pool/)?([ab.]{0,3}/){0,3}[a.~+\\]{1,4}(\.deb)?", fullmatch=True),
    word=st.text("ab~ \0\t", min_size=1, max_size=4),
)
def test_the_order_of_fields_says_nothing(order: list[bytes], path: str, word: str) -> None:
    def outcome(lines: list[bytes]) -> ListedFile | str:
        text = b"\n".join(lines).replace(b"pool/main/a/alpha_1.0~rc1+b1-1_amd64.deb", path.encode())
        try:
            return read(text.replace(b"alpha", word.encode(), 1))[0]
        except MetadataError as error:
            return str(error)

    assert outcome(order) == outcome(package().split(b"\n"))
    assert outcome(order) == outcome([*package().split(b"\n")[1:], package().split(b"\n")[0]])


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 10))
def test_any_bytes_are_packages_or_refused(rubbish: bytes, at: int) -> None:
    lines = package().split(b"\n")
    lines.insert(min(at, len(lines)), rubbish)
    for text in (rubbish, b"\n".join(lines)):
        for reader in (read, read_sources):
            try:
                found = reader(text)
            except MetadataError:
                continue
            for file in found:
                assert not file.path.startswith(("/", "../", "dists/"))


# --- sources and lists ------------------------------------------------------------------------

SOURCE = f"""\
Package: alpha
Format: 3.0 (quilt)
Binary: alpha, alpha-doc
Version: 1:1.0-1
Directory: pool/main/a/alpha
Checksums-Sha1:
 {"c" * 40} 10 alpha_1.0-1.dsc
Checksums-Sha256:
 {A} 10 alpha_1.0-1.dsc
 {B}   200000   alpha_1.0.orig.tar.xz
Package-List:
 alpha deb net optional arch=any
""".encode()


def test_a_source_is_several_files() -> None:
    assert read_sources(SOURCE) == [
        ListedFile(811, "pool/main/a/alpha/alpha_1.0-1.dsc", 10, {"sha256": A}, "alpha", "1:1.0-1"),
        ListedFile(
            811, "pool/main/a/alpha/alpha_1.0.orig.tar.xz", 200000, {"sha256": B}, "alpha", ""
        ),
    ]


@pytest.mark.parametrize(
    ("folder", "path"),
    [(".", ""), ("./", ""), ("./sub/", "sub/"), ("sub/./x", "sub/x/")],
)
def test_a_source_of_a_flat_archive_is_below_its_root(folder: str, path: str) -> None:
    text = SOURCE.replace(b"pool/main/a/alpha", folder.encode())

    assert read_sources(text)[0].path == f"{path}alpha_1.0-1.dsc"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"pool/main/a/alpha", b"../alpha"),
        (b"pool/main/a/alpha", b"/alpha"),
        (b"pool/main/a/alpha", b"dists/one"),
        (b" alpha_1.0-1.dsc\n ", b" ../alpha_1.0-1.dsc\n "),
        (b" 10 alpha_1.0-1.dsc", b" 10 sub/alpha_1.0-1.dsc"),
        (b" 10 alpha_1.0-1.dsc", b" 10 .."),
        (b" 10 alpha_1.0-1.dsc", b" ten alpha_1.0-1.dsc"),
        (b" 10 alpha_1.0-1.dsc", b" 10 "),
        (b"Directory", b"X-Directory"),
        (b"Checksums-Sha256", b"X-Checksums"),
        (A.encode(), b"x"),
    ],
)
def test_a_source_that_leads_elsewhere_is_refused(before: bytes, after: bytes) -> None:
    start, end = SOURCE[: SOURCE.index(b"Checksums-Sha1")], SOURCE[SOURCE.index(b"Checksums-S") :]
    end = end[end.index(b"Checksums-Sha256") :]

    with pytest.raises(MetadataError, match="paragraph 811: "):
        read_sources((start + end).replace(before, after, 1))


@settings(deadline=None)
@given(st.lists(st.sampled_from([A, B, "c" * 64]), min_size=1, max_size=4))
def test_sources_are_those_that_python_debian_reads(digests: list[str]) -> None:
    files = "".join(
        f"\n {digest} {number} a_{number}.tar.gz" for number, digest in enumerate(digests)
    )
    text = f"Package: a\nVersion: 1\nDirectory: pool\nChecksums-Sha256:{files}\n".encode()

    theirs = deb822.Sources(text)["Checksums-Sha256"]

    assert [(file.digests["sha256"], str(file.size), file.path) for file in read_sources(text)] == [
        (each["sha256"], each["size"], f"pool/{each['name']}") for each in theirs
    ]


def test_a_list_of_checksums_is_read_as_sha256sum_writes_it() -> None:
    text = f"{A}  ./netboot/mini.iso\n{B} *./udeb.list\n\n".encode()

    found = [(file.path, file.digests["sha256"]) for file in checksums(text)]

    assert found == [("netboot/mini.iso", A), ("udeb.list", B)]


@pytest.mark.parametrize("line", ["x  a", f"{A}", f"{A}  ../a", f"{A}  /a", f"{A}  a\\b"])
def test_a_list_of_checksums_is_refused_with_the_line(line: str) -> None:
    with pytest.raises(MetadataError, match="line 2: "):
        checksums(f"{A}  a\n{line}\n".encode())
