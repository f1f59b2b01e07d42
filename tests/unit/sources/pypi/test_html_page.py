import time
from contextlib import suppress
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync import MetadataError
from flowsync.sources.pypi.pages.html_page import HtmlError, decode, read_tags, text_behind
from flowsync.sources.pypi.pages.page import read_page
from tests.unit.sources.pypi.pages import HTML, URL, anchor, html_page


def links(text: str) -> list[str | None]:
    return [tag.attributes.get("href") for tag in read_tags(text) if tag.name == "a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<a href=x>", ["x"]),
        ("<A HREF='x'>", ["x"]),
        ("<a\n\thref\n=\n'x' >", ["x"]),
        ('<a class="b"href="x">', ["x"]),
        ("<a/href=x/y/>", ["x/y/"]),
        ("<a href=>", [""]),
        ("<a href>", [""]),
        ("<a href=x href=y>", ["x"]),
        ("<a title='>' href=x>", ["x"]),
        ("<a title='<a href=y>' href=x>", ["x"]),
        ("<b title='<a href=y>'><a href=x>", ["x"]),
        ("<a href='a&amp;b&#x2f;&lt;&quot;'>", ['a&b/<"']),
        ("<a href=a'b>", ["a'b"]),
        ("<abbr href=y><area href=y><a href=x>", ["x"]),
        ("<!-- <a href=y> --><a href=x>", ["x"]),
        ("<!--><a href=x>", ["x"]),
        ("<!---><a href=x>", ["x"]),
        ("<!-- -- > <a href=y> --><a href=x>", ["x"]),
        ("<!doctype html><a href=x>", ["x"]),
        ("<?xml version='1.0'?><a href=x>", ["x"]),
        ("<script>'<a href=y>'</script><a href=x>", ["x"]),
        ("<SCRIPT>'</scripty><a href=y>'</Script ><a href=x>", ["x"]),
        ("<title><a href=y></title><a href=x>", ["x"]),
        ("<style><!--</style><a href=x>", ["x"]),
        ("a < b <3 <<a href=x>", ["x"]),
        ("</a href=y><a href=x>", ["x"]),
        ("<a href=x>" * 3, ["x", "x", "x"]),
        ("", []),
        ("<", []),
        ("<<", []),
        ("<b>" * 5000 + "<a href=x>" + "< " * 5000 + "<a href=y>" + "<b x>y", ["x", "y"]),
    ],
)
def test_links_are_found_where_browsers_find_them(text: str, expected: list[str]) -> None:
    assert links(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "<a href=x",
        "<a href='x>",
        '<b title="x>',
        "<!-- <a href=x>",
        "<!doctype html",
        "</a",
        "<script><a href=x>",
        "<title>",
        f"<a href='{'x' * 65536}'>",
        "<a" + " x" * 101 + ">",
        "<a =x>",
    ],
)
def test_what_has_no_end_may_have_been_cut_off(text: str) -> None:
    with pytest.raises(HtmlError):
        links(text)


def test_entities_of_numbers_without_end_are_refused() -> None:
    with pytest.raises(HtmlError, match="names no character"):
        links(f"<a href='&#{'9' * 5000};'>")


def test_the_text_of_a_link() -> None:
    text = "<a href=x> Fx &amp; y </a><a>z"

    assert [text_behind(text, tag) for tag in read_tags(text)] == ["Fx & y", ""]


@pytest.mark.parametrize("charset", ["", "utf-8", "UTF-8", "utf8"])
def test_pages_are_utf_8(charset: str) -> None:
    assert decode("é".encode(), charset) == "é"
    assert decode(b"\xef\xbb\xbfa", charset) == "a"
    with pytest.raises(HtmlError, match="it is not in"):
        decode(b"\xe9", charset)


def test_other_charsets() -> None:
    assert decode(b"\xe9", "ISO-8859-1") == "é"
    with pytest.raises(HtmlError, match="its charset is 'utf-7'"):
        decode(b"", "utf-7")


class _Oracle(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append({name: value or "" for name, value in reversed(attrs)})


VALUES = st.text("ab<>&;\"'= \n#é/", max_size=6)
QUOTED = st.builds(
    lambda value, quote: quote + value.replace(quote, "") + quote, VALUES, st.sampled_from("\"'")
)
ATTRIBUTES = st.builds(
    lambda name, space, value: f"{name}{space}={space}{value}",
    st.sampled_from(["href", "HREF", "data-yanked", "title"]),
    st.sampled_from(["", " ", "\n"]),
    QUOTED | st.sampled_from(["x", "x/y", "a=b", "&lt;"]),
)
TAGS = st.builds(
    lambda name, attributes: f"<{name} {' '.join(attributes)}>",
    st.sampled_from(["a", "A", "b", "p"]),
    st.lists(ATTRIBUTES, max_size=3),
)
PIECES = TAGS | st.sampled_from(["</a>", "<br/>", "text", " &amp; ", "<!-- <a href=z> -->", "\n"])


@given(st.lists(PIECES, max_size=8).map("".join))
def test_pages_are_read_as_the_standard_library_reads_them(text: str) -> None:
    oracle = _Oracle()
    oracle.feed(text)
    oracle.close()

    assert [tag.attributes for tag in read_tags(text) if tag.name == "a"] == oracle.found


@given(st.text("<>!-/a\"'= bscript&#;", max_size=60) | st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        tags = list(read_tags(text))
    except HtmlError:
        return
    assert all(0 < tag.end <= len(text) for tag in tags)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            anchor,
            st.sampled_from(["fx-1.0.tar.gz", "fx-2.0-py3-none-any.whl", "fx-3.zip"]),
            data_requires_python=st.sampled_from([">=3", "<4,>=2", "é"]),
            data_yanked=st.sampled_from(["", "a&b", '"']),
        ),
        max_size=3,
        unique_by=lambda text: text.partition(" data")[0],
    ),
    st.sampled_from(["", '<base href="https://files.example.org/a/">']),
)
def test_pages_are_read_as_pip_reads_them(anchors: list[str], head: str) -> None:
    collector = pytest.importorskip("pip._internal.index.collector")
    body = html_page(*anchors, head=head)
    content = collector.IndexContent(body, "text/html", "utf-8", URL, cache_link_parsing=False)

    expected = list(collector.parse_links(content))

    found = read_page(body, HTML, URL, "fx").files
    assert [file.filename for file in found] == [link.filename for link in expected]
    assert [file.url for file in found] == [link.url_without_fragment for link in expected]
    assert [file.sha256 for file in found] == [link.hash for link in expected]
    assert [file.requires_python for file in found] == [link.requires_python for link in expected]
    assert [file.yanked for file in found] == [link.yanked_reason for link in expected]


JUNK = [
    "<!--", "<!-->", "<!-- -->", "<!x>", "<b>", "<b x>", "<b 'x'>", "<a>", "<a href=x>", "<", "< ",
    "<<b", "<a x='", '<a x="y', "</", "</x>", "<?", "<?>", "<script>", "<script></script>",
    "<title></", "a", "&amp;", "<a b=c ", "<meta name=a content=b>", "<base href=x>",
    f"<a href='&{'a' * 32}'>", f"<a href='{'&notit;' * 9000}'>", f"<a href='{'&#x0;' * 9000}'>",
    f"<a{' x' * 99}>", f"<b{' x' * 32_000}>", f"<a{' ' * 65_000}>", f"<a x{' ' * 65_000}y>",
]  # fmt: skip
"""What takes some parsers minutes."""


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: junk[:12])
def test_two_megabytes_of_anything_are_read_soon(junk: str) -> None:
    body = (f"<p>{junk * ((2 << 20) // len(junk))}").encode()
    began = time.process_time()

    with suppress(MetadataError):
        read_page(body, HTML, URL, "fx")

    # Most take a tenth of a second; this is for machines with much else to do.
    assert time.process_time() - began < 6


@pytest.mark.parametrize("junk", ["< ", "<!-->", "<b>", "<script></script>"])
def test_sixteen_megabytes_of_anything_are_read_soon(junk: str) -> None:
    body = (junk * ((16 << 20) // len(junk))).encode()
    began = time.process_time()

    assert read_page(body, HTML, URL, "fx").files == ()

    assert time.process_time() - began < 6
