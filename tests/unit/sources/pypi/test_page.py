import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowsync import MetadataError
from flowsync.sources.pypi.pages.page import Page, PageFile, read_page
from tests.unit.sources.pypi.pages import (
    HTML,
    JSON,
    URL,
    anchor,
    entry,
    html_page,
    json_page,
    sha256,
)

WHEEL = "fx-1.0-py3-none-any.whl"


def read_json(*files: dict[str, Any], **fields: Any) -> Page:
    return read_page(json_page(*files, **fields), JSON, URL, "fx")


def read_html(*anchors: str, head: str = "") -> Page:
    return read_page(html_page(*anchors, head=head), HTML, URL, "fx")


def only(page: Page) -> PageFile:
    assert page.refused == ()
    (file,) = page.files
    return file


def reason(page: Page) -> tuple[str, str]:
    assert page.files == ()
    (refused,) = page.refused
    return refused.rule, refused.reason


# --- formats ----------------------------------------------------------------------------------


def test_all_versions_of_the_format_give_equal_files() -> None:
    said: dict[str, Any] = {"requires_python": ">=3.8", "yanked": "bad"}
    said |= {"size": None, "upload_time": None}
    more: dict[str, Any] = {"project-status": {"status": "active"}, "alternate-locations": []}
    metadata = {"sha256": "a" * 64}
    newest = json_page(
        entry(WHEEL, core_metadata=metadata, **said), api="1.4", versions=["1.0"], **more
    )
    first = json_page(entry(WHEEL, dist_info_metadata=metadata, **said), api="1.0")
    second = first.replace(b'"1.0"}', b'"1.1"}')
    page = html_page(
        anchor(
            WHEEL,
            data_requires_python=">=3.8",
            data_yanked="bad",
            data_core_metadata=f"sha256={'a' * 64}",
        )
    )

    found = [read_page(body, JSON, URL, "fx").files for body in (newest, first, second)]
    found.append(read_page(page, "text/html", URL, "fx").files)
    found.append(read_page(page, "application/vnd.pypi.simple.v1+html", URL, "fx").files)

    assert len(found[0]) == 1
    assert found == [found[0]] * 5


def test_all_that_a_page_says_is_read() -> None:
    page = read_json(
        entry(
            WHEEL,
            requires_python=">=3.8",
            yanked="broken ",
            core_metadata={"sha256": "b" * 64},
            provenance="https://index.example.org/integrity/fx",
        ),
        api="1.4",
        name="FX",
        versions=["1.0", "0.9"],
        meta={"_last-serial": 12, "tracks": ["https://other.example.org/simple/fx/"]},
        **{
            "project-status": {"status": "archived", "reason": "no more"},
            "alternate-locations": ["https://more.example.org/simple/fx/", "file:///etc/"],
        },
    )

    assert page == Page(
        name="FX",
        versions=("1.0", "0.9"),
        status="archived",
        reason="no more",
        alternate_locations=("https://more.example.org/simple/fx/",),
        tracks=("https://other.example.org/simple/fx/",),
        serial=12,
        files=(
            PageFile(
                filename=WHEEL,
                url=f"https://index.example.org/packages/{WHEEL}",
                version="1.0",
                kind="wheel",
                tags="py3-none-any",
                sha256=sha256(WHEEL),
                size=1000,
                requires_python=">=3.8",
                upload_time="2024-11-06T22:37:10.868088Z",
                yanked="broken ",
                metadata="b" * 64,
                provenance="https://index.example.org/integrity/fx",
            ),
        ),
        url=URL,
    )


def test_a_page_of_html_has_a_status_and_places_too() -> None:
    head = (
        '<META NAME="pypi:repository-version" content="1.4">'
        '<meta name="pypi:project-status" content="quarantined">'
        '<meta name="pypi:project-status-reason" content="a &lt; b">'
        '<meta name="pypi:tracks" content="https://other.example.org/fx/">'
        '<meta name="pypi:alternate-locations" content="https://a.example.org/fx/">'
        '<meta name="pypi:alternate-locations" content="https://b.example.org/fx/">'
    )

    page = read_html(head=head)

    assert (page.status, page.reason) == ("quarantined", "a < b")
    assert page.tracks == ("https://other.example.org/fx/",)
    assert page.alternate_locations == ("https://a.example.org/fx/", "https://b.example.org/fx/")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/vnd.pypi.simple.v2+json",
        "application/vnd.pypi.simple.v2+html",
        "application/vnd.pypi.simple.latest+json",
        "text/plain",
        "",
    ],
)
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(MetadataError, match=r"page of project 'fx': its (format|content type) is"):
        read_page(json_page(), content_type, URL, "fx")


@pytest.mark.parametrize("api", ["2.0", "2", "0.9", "", "1.x", "10.0"])
def test_other_versions_of_the_format_are_refused(api: str) -> None:
    with pytest.raises(MetadataError, match=r"1 and 1\.N are read"):
        read_json(api=api)
    if api:
        with pytest.raises(MetadataError, match=r"1 and 1\.N are read"):
            read_html(head=f'<meta name="pypi:repository-version" content="{api}">')


def test_later_versions_and_unknown_keys_are_read() -> None:
    page = read_json(entry(WHEEL, new_thing={"a": [1]}), api="1.99", other=[{}])

    assert only(page).filename == WHEEL


@pytest.mark.parametrize(
    ("serial", "expected"),
    [(25862117, 25862117), ("25862117", 25862117), (None, None), ("x", None), (-1, None),
     (True, None), (10**30, None), ("9" * 30, None), ("١", None), (1.5, None), ([], None)],
)  # fmt: skip
def test_serials_are_numbers_or_their_text(serial: object, expected: int | None) -> None:
    assert read_json(meta={"_last-serial": serial}).serial == expected


def test_the_page_is_that_of_the_project() -> None:
    assert read_page(json_page(name="Fx.Weird_Name"), JSON, URL, "fx-weird-name").name == (
        "Fx.Weird_Name"
    )
    with pytest.raises(MetadataError, match="it is that of project 'other'"):
        read_json(name="other")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "no JSON of an index"),
        (b"{}", "missing required field `meta`"),
        (b"[]", "Expected `object`"),
        (b'{"meta":{},"files":[]}', "api-version"),
        (b"\xef\xbb\xbf" + json_page(), "malformed"),
        (b'{"meta":{"api-version":"1.0"},"files":[],"name":"\\ud800"}', "no JSON of an index"),
        (b'{"meta":{"api-version":"1.0"},"files":[],"name":"\xff"}', "no JSON of an index"),
        (json_page(entry(WHEEL, size=-1)), r"`\$.files\[0\].size`"),
        (json_page(entry(WHEEL, size=10**20)), r"`\$.files\[0\].size`"),
        (json_page(entry(WHEEL, size="1")), r"`\$.files\[0\].size`"),
        (json_page(entry(WHEEL, hashes=[])), r"`\$.files\[0\].hashes`"),
        (json_page({"filename": WHEEL}), "missing required field `url`"),
    ],
)
def test_what_is_no_page_is_an_error_that_names_the_project(body: bytes, found: str) -> None:
    with pytest.raises(MetadataError, match=rf"^{URL}: page of project 'fx': .*{found}"):
        read_page(body, JSON, URL, "fx")


@pytest.mark.parametrize("beginning", [b'{"meta":{"api-version":"1.0"},"files":[],"x":', b""])
def test_a_page_that_is_nested_too_deep_is_an_error(beginning: bytes) -> None:
    with pytest.raises(MetadataError, match="page of project 'fx': it is nested too deep"):
        read_page(beginning + b'{"x":' * 500_000, JSON, URL, "fx")


def test_secrets_of_the_address_are_in_no_error() -> None:
    with pytest.raises(MetadataError) as error:
        read_page(b"", JSON, "https://me:secret@index.example.org/simple/fx/?token=x1", "fx")

    assert "secret" not in str(error.value)
    assert "x1" not in str(error.value)


# --- fields -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["core-metadata", "dist-info-metadata", "data-dist-info-metadata"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (False, None),
        (True, ""),
        ({"sha256": "C" * 64}, "c" * 64),
        ({"md5": "c" * 32}, ""),
        ({}, ""),
        ({"sha256": "x"}, ""),
        ({"sha256": 1}, ""),
    ],
)
def test_metadata_stands_under_three_keys(key: str, value: object, expected: str | None) -> None:
    assert only(read_json(entry(WHEEL, **{key: value}))).metadata == expected


def test_the_newest_key_of_metadata_counts() -> None:
    file = entry(WHEEL, core_metadata=False, dist_info_metadata=True)

    assert only(read_json(file)).metadata is None
    assert only(read_json(entry(WHEEL))).metadata is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", ""), ("", ""), ("false", None), ("sha256=" + "d" * 64, "d" * 64), ("md5=1", "")],
)
@pytest.mark.parametrize("key", ["data_core_metadata", "data_dist_info_metadata"])
def test_metadata_in_html(key: str, value: str, expected: str | None) -> None:
    assert only(read_html(anchor(WHEEL, **{key: value}))).metadata == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(False, None), (True, ""), ("", ""), ("bad  ", "bad  "), ('"><script>', '"><script>')],
)
def test_files_are_yanked_with_or_without_a_reason(value: object, expected: str | None) -> None:
    assert only(read_json(entry(WHEEL, yanked=value))).yanked == expected
    assert only(read_json(entry(WHEEL))).yanked is None


def test_yanked_files_in_html() -> None:
    assert only(read_html(anchor(WHEEL))).yanked is None
    assert only(read_html(anchor(WHEEL, data_yanked=""))).yanked == ""
    assert only(read_html(anchor(WHEEL, data_yanked=None))).yanked == ""
    assert only(read_html(anchor(WHEEL, data_yanked='"><script>'))).yanked == '"><script>'


@pytest.mark.parametrize("text", [">=3.8", ">=3.6,", "~=x", "3.*.>", "≥3"])
def test_what_a_file_requires_is_kept_as_it_is(text: str) -> None:
    assert only(read_json(entry(WHEEL, requires_python=text))).requires_python == text
    assert only(read_html(anchor(WHEEL, data_requires_python=text))).requires_python == text


def test_nothing_required_is_none() -> None:
    body = json_page({**entry(WHEEL), "requires-python": None})

    assert only(read_page(body, JSON, URL, "fx")).requires_python is None
    assert only(read_html(anchor(WHEEL, data_requires_python=""))).requires_python is None


@pytest.mark.parametrize(
    ("hashes", "expected"),
    [
        ({"sha256": "A" * 64}, {"sha256": "a" * 64}),
        ({"sha512": "a" * 128, "md5": "x"}, {"sha512": "a" * 128}),
        ({"sha384": "a" * 96, "sha256": "b" * 64}, {"sha384": "a" * 96, "sha256": "b" * 64}),
        ({"md5": "a" * 32, "sha1": "a" * 40}, {}),
        ({"blake2b_256": "a" * 64}, {}),
        ({}, {}),
    ],
)
def test_only_good_digests_count(hashes: dict[str, str], expected: dict[str, str]) -> None:
    file = only(read_json(entry(WHEEL, hashes=hashes)))

    found = {"sha256": file.sha256, "sha384": file.sha384, "sha512": file.sha512}
    assert {name: value for name, value in found.items() if value is not None} == expected


@pytest.mark.parametrize("digest", ["", "a" * 63, "g" * 64, "a" * 63 + "\n", 5, "é" * 64])
def test_a_bad_digest_leaves_the_file_out(digest: object) -> None:
    rule, said = reason(read_json(entry(WHEEL, hashes={"sha256": digest})))

    assert rule == "digest"
    assert said.startswith("its sha256 is none: ")


def test_digests_in_html_stand_in_the_fragment() -> None:
    href = f"{WHEEL}#egg=fx-1.0&sha512={'a' * 128}"

    assert only(read_html(anchor(WHEEL, href=href))).sha512 == "a" * 128
    assert only(read_html(anchor(WHEEL, href=f"{WHEEL}#md5={'a' * 32}"))).sha256 is None
    assert reason(read_html(anchor(WHEEL, href=f"{WHEEL}#sha256=zz")))[0] == "digest"


# --- URLs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "link", "expected"),
    [
        # As devpi writes them.
        (
            "https://index.example.org/root/dev/+simple/fx/",
            f"../../+f/ba6/7ff/{WHEEL}#sha256=x",
            f"https://index.example.org/root/dev/+f/ba6/7ff/{WHEEL}",
        ),
        (URL, f"/packages/{WHEEL}", f"https://index.example.org/packages/{WHEEL}"),
        (URL, f"https://files.example.org/a/{WHEEL}", f"https://files.example.org/a/{WHEEL}"),
        (URL, WHEEL, f"{URL}{WHEEL}"),
        # After a redirect, the address that it led to counts.
        ("https://moved.example.org/x/fx/", f"../{WHEEL}", f"https://moved.example.org/x/{WHEEL}"),
    ],
)
def test_urls_are_relative_to_where_the_page_came_from(url: str, link: str, expected: str) -> None:
    page = read_page(json_page(entry(WHEEL, url=link)), JSON, url, "fx")

    assert only(page).url == expected


def test_the_base_of_a_page_of_html_counts_for_links_before_it_too() -> None:
    first = anchor(WHEEL, href=f"a/{WHEEL}")

    page = read_html(first, '<BASE HREF="/files/">', '<base href="/other/">')

    assert only(page).url == f"https://index.example.org/files/a/{WHEEL}"


@pytest.mark.parametrize(
    "link",
    [
        f"file:///etc/{WHEEL}",
        f"ftp://files.example.org/{WHEEL}",
        f"https://me@files.example.org/{WHEEL}",
        f"http://files.example.org/{WHEEL}",
        f"http://127.0.0.1/{WHEEL}",
    ],
)
def test_hostile_urls_are_left_out_with_the_reason(link: str) -> None:
    assert reason(read_json(entry(WHEEL, url=link)))[0] == "url"
    assert reason(read_html(anchor(WHEEL, href=link)))[0] == "url"
    assert only(read_json(entry(WHEEL, provenance=link))).provenance is None


def test_provenance_is_relative_to_the_page() -> None:
    file = entry(WHEEL, provenance="/integrity/fx/1.0/provenance")

    assert only(read_json(file)).provenance == (
        "https://index.example.org/integrity/fx/1.0/provenance"
    )
    assert only(read_html(anchor(WHEEL, data_provenance="p"))).provenance == f"{URL}p"


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "rule"),
    [
        ("../fx-1.0.tar.gz", "filename"),
        ("a/../fx-1.0.tar.gz", "filename"),
        ("fx-1.0\0.tar.gz", "filename"),
        (f"fx-{'1' * 300}.tar.gz", "filename"),
        ("other-1.0.tar.gz", "project"),
        ("fx-x.tar.gz", "version"),
    ],
)
def test_hostile_names_are_left_out_with_the_reason(filename: str, rule: str) -> None:
    page = read_json(entry(filename), entry(WHEEL))

    assert [file.filename for file in page.files] == [WHEEL]
    assert [refused.rule for refused in page.refused] == [rule]
    assert len(page.refused[0].filename) <= 200
    assert page.refused[0].filename.isprintable()


def test_in_html_the_last_segment_of_the_url_is_the_name() -> None:
    page = read_html('<a href="/x/fx-1.0%2Bl-py3-none-any.whl?a=b/c#d=/e">something</a>')

    assert only(page).filename == "fx-1.0+l-py3-none-any.whl"
    assert reason(read_html('<a href="..%2ffx-1.0.zip">fx-1.0.zip</a>'))[0] == "filename"


def test_anchors_without_a_link_are_nothing() -> None:
    assert read_html('<a name="x">x</a><a>y</a>').files == ()


@pytest.mark.parametrize("text", ["a\0b", "\x1b[31m", "\x7f", "x" * 4097])
def test_texts_with_controls_and_long_ones_leave_a_file_out(text: str) -> None:
    for field in ("requires_python", "yanked", "upload_time"):
        assert reason(read_json(entry(WHEEL, **{field: text})))[0] == "text"
    with pytest.raises(MetadataError, match="the status of the project"):
        read_json(**{"project-status": {"status": "archived", "reason": text}})


def test_lines_and_tabs_are_text() -> None:
    assert only(read_json(entry(WHEEL, yanked="a\n\tb"))).yanked == "a\n\tb"


def test_one_file_with_two_digests_is_an_error() -> None:
    two = [entry(WHEEL), entry(WHEEL, hashes={"sha256": "a" * 64})]

    with pytest.raises(MetadataError, match=rf"it lists '{WHEEL}' twice, with different digests"):
        read_json(*two)
    with pytest.raises(MetadataError, match="twice"):
        read_html(anchor(WHEEL), anchor(WHEEL, href=f"{WHEEL}#sha256={'a' * 64}"))


def test_one_file_that_is_listed_twice_is_one() -> None:
    bare = entry(WHEEL, hashes={})

    assert only(read_json(entry(WHEEL), entry(WHEEL, yanked="x"))).yanked is None
    for files in ([bare, entry(WHEEL)], [entry(WHEEL), bare]):
        assert only(read_json(*files)).sha256 == sha256(WHEEL)


def test_a_page_has_so_many_files_and_versions() -> None:
    many = ",".join(["1"] * 100_001)
    body = json_page().replace(
        b'"meta"', b'"versions":[%s],"meta"' % many.replace("1", '"1"').encode()
    )

    with pytest.raises(MetadataError, match="more than 100000 versions"):
        read_page(body, JSON, URL, "fx")
    with pytest.raises(MetadataError, match="more than 200000 links"):
        read_html("<a>" * 200_001)


def test_a_page_has_so_many_bytes() -> None:
    with pytest.raises(MetadataError, match="bytes, more than 16777216"):
        read_page(b" " * ((16 << 20) + 1), HTML, URL, "fx")
    with pytest.raises(MetadataError, match="bytes, more than 67108864"):
        read_page(b" " * ((64 << 20) + 1), JSON, URL, "fx")


def test_strange_versions_of_the_list_do_not_count() -> None:
    assert read_json(versions=["1.0", "x/../y", "1\n", "9" * 200]).versions == ("1.0",)
    assert json.loads(json_page(versions=["1.0"]))["versions"] == ["1.0"]


# --- anything ---------------------------------------------------------------------------------

ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 1 << 70) | st.text(max_size=4) | st.just(WHEEL),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
KEYS = ["url", "hashes", "requires-python", "size", "upload-time", "yanked", "core-metadata",
        "dist-info-metadata", "provenance", "filename"]  # fmt: skip
ODD_ENTRIES = st.dictionaries(st.sampled_from(KEYS), ODD, max_size=3).map(
    lambda odd: {**entry(WHEEL), **odd}
)
ODD_PAGES = st.dictionaries(
    st.sampled_from(["name", "versions", "alternate-locations", "project-status"]), ODD, max_size=2
)


@given(st.lists(ODD_ENTRIES, max_size=2), ODD_PAGES)
def test_any_page_of_json_is_read_or_refused(
    entries: list[dict[str, Any]], fields: dict[str, Any]
) -> None:
    body = json.dumps({"meta": {"api-version": "1.1"}, "files": entries, **fields}).encode()
    try:
        found = read_page(body, JSON, URL, "fx")
    except MetadataError as error:
        assert f"{URL}: page of project 'fx': " in str(error)  # noqa: PT017 - either is right
    else:
        assert {file.filename for file in found.files} <= {WHEEL}
        assert all(file.url.startswith("https://") for file in found.files)


@given(st.binary(max_size=80) | st.text("{}[]\":,meta1.<a href=x>&;'", max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for content_type in (JSON, HTML):
        try:
            read_page(body, content_type, URL, "fx")
        except MetadataError:
            continue
