import pytest

from flowsync import MetadataError
from flowsync.download.local_files import _path
from flowsync.sources.file.manifest import (
    ManifestEntry,
    artifact_url,
    folder_url,
    manifest_url,
    parse_lines,
)

A = "a" * 64
B = "0123456789abcdef" * 4


def parse(*lines: str | bytes) -> list[ManifestEntry]:
    given = [line if isinstance(line, bytes) else line.encode() for line in lines]
    return [entry for _, entry in parse_lines(given)]


def test_a_line_is_path_digest_and_size() -> None:
    assert parse(f"dir/file.txt,{B},123") == [ManifestEntry("dir/file.txt", B, 123)]


def test_a_path_may_contain_commas() -> None:
    assert parse(f"a,b,,c,{A},1", f",,{A},2") == [
        ManifestEntry("a,b,,c", A, 1),
        ManifestEntry(",", A, 2),
    ]


def test_comments_and_blank_lines_are_no_entries() -> None:
    assert parse("# path,sha256,size", "", "   ", "\t\r", f"a,{A},1", "#") == [
        ManifestEntry("a", A, 1)
    ]


def test_carriage_returns_do_not_count() -> None:
    assert parse(f"a,{A},1\r", f"b,{A},2\r\n") == [
        ManifestEntry("a", A, 1),
        ManifestEntry("b", A, 2),
    ]


def test_digests_in_upper_case_and_spaces_around_them_are_understood() -> None:
    assert parse(f"a, {B.upper()} , 7 ") == [ManifestEntry("a", B, 7)]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("./a", "a"),
        ("././a/b", "a/b"),
        ("a/./b", "a/b"),
        ("a./b", "a./b"),
        ("./.hidden", ".hidden"),
    ],
)
def test_a_dot_in_a_path_means_the_folder_itself(path: str, meant: str) -> None:
    assert [entry.relative_path for entry in parse(f"{path},{A},1")] == [meant]


def test_white_space_of_a_path_is_part_of_it() -> None:
    assert [entry.relative_path for entry in parse(f" a ,{A},1", f" #b,{A},1", f" ,{A},1")] == [
        " a ",
        " #b",
        " ",
    ]


def test_sizes_may_be_nothing_and_as_large_as_a_file_can_be() -> None:
    largest = 2**63 - 1

    assert [entry.size for entry in parse(f"a,{A},0", f"b,{A},{largest}", f"c,{A},007")] == [
        0,
        largest,
        7,
    ]


@pytest.mark.parametrize(
    "path",
    [
        "file",
        "deep/er/file",
        "...",
        "..a/b..",
        ".hidden/.file",
        "ü/日本/🙂",
        "a b",
        "50%",
        "%2e%2e/x",
        "q?x=1#y",
        "a:b",
        "a\\b",
        "'\"",
        "a\u2028b",
        "x" * 255,
        "/".join(["ü" * 127] * 8),
    ],
)
def test_any_path_that_a_folder_can_hold_is_taken(path: str) -> None:
    (entry,) = parse(f"{path},{A},1")

    assert entry.relative_path == path


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "is empty"),
        ("/etc/passwd", "is absolute"),
        ("//host/share", "is absolute"),
        ("../escape", "contains '..'"),
        ("a/../../b", "contains '..'"),
        ("a/..", "contains '..'"),
        ("..", "contains '..'"),
        ("a//b", "contains an empty or '.' segment"),
        ("a/", "contains an empty or '.' segment"),
        (".", "contains an empty or '.' segment"),
        ("./.", "contains an empty or '.' segment"),
        ("./", "is empty"),
        ("./../a", "contains '..'"),
        (".//a", "is absolute"),
        ("/./a", "is absolute"),
        ("a/.", "contains an empty or '.' segment"),
        ("a\0b", "contains a control character"),
        ("a\tb", "contains a control character"),
        ("a\x1b[31mb", "contains a control character"),
        ("a\x7f", "contains a control character"),
        ("a\x85b", "contains a control character"),
        ("x" * 256, "has a segment of more than 255 bytes"),
        ("ü" * 128, "has a segment of more than 255 bytes"),
        ("/".join(["x" * 255] * 9), "is longer than 2048 bytes"),
    ],
)
def test_a_path_that_could_do_harm_is_refused_by_name(path: str, problem: str) -> None:
    with pytest.raises(MetadataError, match="manifest line 1: the path ") as caught:
        parse(f"{path},{A},1")

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("no manifest line", "it is not 'path,sha256,size': 'no manifest line'"),
        (f"a,{A}", "it is not 'path,sha256,size'"),
        ("<html>,<body>,404", "it is a line of an HTML or XML page, not 'path,sha256,size'"),
        ("  <!DOCTYPE HTML>", "must end with a slash: '  <!DOCTYPE HTML>'"),
        ("<file>,<body>,404", "'<body>' is not a sha256 digest: '<file>,<body>,404'"),
        (f"a,{A[1:]},1", "is not a sha256 digest"),
        (f"a,{A[1:]}g,1", "is not a sha256 digest"),
        (f"a,{A}a,1", "is not a sha256 digest"),
        ("a,,1", "'' is not a sha256 digest"),
        (f"a,{A},", "'' is not a size in bytes"),
        (f"a,{A},-1", "'-1' is not a size in bytes"),
        (f"a,{A},1.5", "'1.5' is not a size in bytes"),
        (f"a,{A},1_000", "'1_000' is not a size in bytes"),
        (f"a,{A},٣", "'٣' is not a size in bytes"),
        (f"a,{A},{2**63}", "is not a size in bytes"),
        (f"a,{A},{'9' * 5000}", "is not a size in bytes"),
        (b"caf\xe9," + A.encode() + b",1", r"it is not UTF-8: 'caf\\xe9,"),
    ],
)
def test_a_bad_line_is_an_error_with_its_number_and_text(line: str | bytes, problem: str) -> None:
    with pytest.raises(MetadataError) as caught:
        parse(f"good,{A},1", "# comment", line)

    assert str(caught.value).startswith("manifest line 3: ")
    assert problem in str(caught.value)


def test_numbers_go_on_from_one_block_of_lines_to_the_next() -> None:
    with pytest.raises(MetadataError, match="manifest line 1002: "):
        list(parse_lines([b"", b"bad"], first_number=1001))


def test_an_error_shows_the_beginning_of_a_long_line_only() -> None:
    with pytest.raises(MetadataError) as caught:
        parse("x" * 10_000)

    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("a/b.txt", "http://h:8080/pool/a/b.txt"),
        ("a b", "http://h:8080/pool/a%20b"),
        ("50%", "http://h:8080/pool/50%25"),
        ("already%20encoded", "http://h:8080/pool/already%2520encoded"),
        ("q?a=1&b#c", "http://h:8080/pool/q%3Fa%3D1%26b%23c"),
        ("1:2.0~rc+1", "http://h:8080/pool/1:2.0~rc%2B1"),
        ("ü", "http://h:8080/pool/%C3%BC"),
        ("a\\b", "http://h:8080/pool/a%5Cb"),
    ],
)
def test_artifact_urls_are_encoded_but_for_slash_and_colon(path: str, url: str) -> None:
    assert artifact_url(folder_url("http://h:8080/pool/PULP_MANIFEST"), path) == url


@pytest.mark.parametrize(
    ("manifest", "url"),
    [
        ("http://h/PULP_MANIFEST", "http://h/x"),
        ("http://h/a%20b/PULP_MANIFEST", "http://h/a%20b/x"),
        ("https://h/dir/list?token=a/b#c/d", "https://h/dir/x"),
        ("https://[::1]:8443/dir/list", "https://[::1]:8443/dir/x"),
        ("file:///srv/up/PULP_MANIFEST", "file:///srv/up/x"),
        ("file:///srv/up#1?/list", "file:///srv/up#1?/x"),
        ("FILE://localhost/srv/list", "FILE://localhost/srv/x"),
    ],
)
def test_artifacts_lie_in_the_folder_of_the_manifest(manifest: str, url: str) -> None:
    assert artifact_url(folder_url(manifest), "x") == url


@pytest.mark.parametrize(
    "path", ["50%", "%41", "a?b", "a#b", "a b", "ü/日本", "a+b", "a&b=c", "a:b;c", "~x", "'\"\\"]
)
def test_a_file_url_leads_to_the_very_name(path: str) -> None:
    """The fetcher takes everything behind `file://` as the path and decodes percent escapes: it
    must come to the name in the manifest.
    """
    assert (
        _path(artifact_url(folder_url("file:///srv/up%20stream/PULP_MANIFEST"), path))
        == f"/srv/up stream/{path}"
    )


def test_a_url_with_a_slash_at_its_end_names_the_folder_of_the_manifest() -> None:
    assert manifest_url("http://h/dir/") == "http://h/dir/PULP_MANIFEST"
    assert manifest_url("http://h/dir/LIST") == "http://h/dir/LIST"
