from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowsync.sources.pypi.pages.links import LinkError, Links, host_of, last_segment

BASE = "https://index.example.org:8443/root/dev/+simple/fx/"

SEGMENTS = st.lists(
    st.sampled_from(["..", ".", "a", "+f", "b-1.0.tar.gz", "%41", "a=b", "c:d", ""])
)


@given(st.sampled_from(["", "/", "../", "../../", "../../../../../../"]), SEGMENTS.map("/".join))
def test_relative_links_lead_where_the_standard_library_says(beginning: str, path: str) -> None:
    link = beginning + path
    try:
        found = Links(BASE).resolve(link)
    except LinkError:
        assert not link or link.startswith("//") or "c:d" in link
    else:
        assert found == urljoin(BASE, link)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("../../+f/ba6/b.whl#sha256=12", "https://index.example.org:8443/root/dev/+f/ba6/b.whl"),
        ("/packages/b.whl", "https://index.example.org:8443/packages/b.whl"),
        ("//files.example.org/b.whl", "https://files.example.org/b.whl"),
        ("https://files.example.org/b.whl?a=1&b=%20", "https://files.example.org/b.whl?a=1&b=%20"),
        ("HTTPS://Files.Example.org/b.whl", "https://Files.Example.org/b.whl"),
        (" \n b.whl\t", f"{BASE}b.whl"),
        ("ü.whl", f"{BASE}%C3%BC.whl"),
        ("https://[2001:db8::1]:8/b.whl", "https://[2001:db8::1]:8/b.whl"),
    ],
)  # fmt: skip
def test_links_lead_to_absolute_urls(link: str, expected: str) -> None:
    assert Links(BASE).resolve(link) == expected


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("file:///etc/passwd", "its scheme is 'file'"),
        ("ftp://files.example.org/b.whl", "its scheme is 'ftp'"),
        ("javascript:alert(1)", "its scheme is 'javascript'"),
        ("data:,x", "its scheme is 'data'"),
        ("https://user@files.example.org/b.whl", "names a user"),
        ("https://user:password@files.example.org/b.whl", "names a user"),
        ("//@files.example.org/b.whl", "names a user"),
        ("http://files.example.org/b.whl", "from https to http"),
        ("https:///b.whl", "no host"),
        ("https://files.example.org:99999/b.whl", "malformed"),
        ("https://files.example.org:x/b.whl", "malformed"),
        ("https://[::1/b.whl", "malformed"),
        ("https://fïles.example.org/b.whl", "not in ASCII"),
        ("b\\c.whl", "characters that none has"),
        ("b c.whl", "characters that none has"),
        ("b\0c.whl", "characters that none has"),
        ("https://files.example.org/\r\nHost: x", "characters that none has"),
        ("", "empty"),
        ("#sha256=12", "empty"),
        ("a" * 5000, "too long"),
    ],
)
def test_hostile_links_are_not_followed(link: str, reason: str) -> None:
    with pytest.raises(LinkError, match=reason):
        Links(BASE).resolve(link)


def test_links_are_relative_to_the_base_that_a_page_names() -> None:
    assert Links(BASE, "../files/").resolve("b.whl") == (
        "https://index.example.org:8443/root/dev/+simple/files/b.whl"
    )
    with pytest.raises(LinkError, match="scheme is 'file'"):
        Links(BASE, "file:///etc/").resolve("passwd")
    with pytest.raises(LinkError, match="from https to http"):
        Links(BASE, "http://index.example.org/").resolve("b.whl")
    with pytest.raises(LinkError, match="is no URL"):
        Links(BASE, "https://[")


def test_the_user_of_a_page_is_not_passed_on_to_its_files() -> None:
    links = Links("https://me:secret@index.example.org/simple/fx/")

    assert links.resolve("../../b.whl") == "https://index.example.org/b.whl"
    assert links.resolve("?x=1") == "https://index.example.org/simple/fx/?x=1"


def test_an_index_without_encryption_may_name_either() -> None:
    links = Links("http://127.0.0.1:8080/simple/fx/")

    assert links.resolve("http://a.example.org/b") == "http://a.example.org/b"
    assert links.resolve("https://a.example.org/b") == "https://a.example.org/b"


def test_the_last_segment_is_decoded() -> None:
    assert last_segment("../a/fx-1%2B2.whl?x=/y#z=/w") == "fx-1+2.whl"
    assert last_segment("..%2Fx") == "../x"
    assert host_of("https://Files.example.org:8/x") == "files.example.org"
