import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowsync.sources.pypi.pages.html_page import read_tags
from flowsync.sources.pypi.pages.page import Page, PageFile, read_page
from flowsync.sources.pypi.pages.project_list import read_project_list
from flowsync.sources.pypi.pages.simple_pages import (
    api_version,
    file_url,
    list_as_html,
    list_as_json,
    page_as_html,
    page_as_json,
)
from tests.unit.sources.pypi.pages import HTML, JSON, URL

EVIL = "\"><script>alert(1)</script>'&amp;\n<!--"


def served(filename: str = "fx-1.0-py3-none-any.whl", **fields: Any) -> PageFile:
    given = {"version": "1.0", "sha256": "a" * 64, "size": 10, **fields}
    return PageFile(filename=filename, url=file_url("fx", filename), **given)


def page(*files: PageFile, **fields: Any) -> Page:
    return Page(name="fx", files=files, **fields)


def test_a_page_of_json() -> None:
    written = page_as_json(
        page(
            served(
                requires_python=">=3.8",
                upload_time="2024-11-06T22:37:10.868088Z",
                yanked="bad ",
                metadata="b" * 64,
                provenance="../p",
            ),
            served("fx-1.0.zip", metadata="", yanked="", sha256=None, sha512="c" * 128),
            status="archived",
            reason="no more",
            alternate_locations=("https://a.example.org/fx/",),
            tracks=("https://b.example.org/fx/",),
            serial=7,
        )
    )

    assert json.loads(written) == {
        "meta": {
            "api-version": "1.4",
            "_last-serial": 7,
            "tracks": ["https://b.example.org/fx/"],
        },
        "name": "fx",
        "versions": ["1.0"],
        "project-status": {"status": "archived", "reason": "no more"},
        "alternate-locations": ["https://a.example.org/fx/"],
        "files": [
            {
                "filename": "fx-1.0-py3-none-any.whl",
                "url": "../../files/fx/fx-1.0-py3-none-any.whl",
                "hashes": {"sha256": "a" * 64},
                "requires-python": ">=3.8",
                "size": 10,
                "upload-time": "2024-11-06T22:37:10.868088Z",
                "yanked": "bad ",
                "core-metadata": {"sha256": "b" * 64},
                "provenance": "../p",
            },
            {
                "filename": "fx-1.0.zip",
                "url": "../../files/fx/fx-1.0.zip",
                "hashes": {"sha512": "c" * 128},
                "size": 10,
                "yanked": True,
                "core-metadata": True,
            },
        ],
    }


def test_a_page_of_html() -> None:
    text = page_as_html(
        page(
            served(requires_python=">=3.8", yanked="bad", metadata="b" * 64, provenance="../p"),
            served("fx-1.0.zip", metadata="", yanked=""),
        )
    ).decode()

    first, second = [tag.attributes for tag in read_tags(text) if tag.name == "a"]
    assert first == {
        "href": f"../../files/fx/fx-1.0-py3-none-any.whl#sha256={'a' * 64}",
        "data-requires-python": ">=3.8",
        "data-yanked": "bad",
        "data-core-metadata": f"sha256={'b' * 64}",
        "data-dist-info-metadata": f"sha256={'b' * 64}",
        "data-provenance": "../p",
    }
    assert second["data-core-metadata"] == second["data-dist-info-metadata"] == "true"
    assert second["data-yanked"] == ""
    assert ">fx-1.0.zip</a>" in text
    assert "&gt;=3.8" in text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (page(), "1.1"),
        (page(served()), "1.1"),
        (page(served(size=None)), "1.0"),
        (page(served(), served(size=None), status="archived"), "1.0"),
        (page(served(), alternate_locations=("https://a.example.org/",)), "1.2"),
        (page(served(), tracks=("https://a.example.org/",)), "1.2"),
        (page(served(provenance="p"), tracks=("https://a.example.org/",)), "1.3"),
        (page(served(), status="active"), "1.1"),
        (page(served(), status="quarantined"), "1.4"),
    ],
)
def test_the_version_of_the_format_is_the_lowest_that_covers_the_page(
    given: Page, expected: str
) -> None:
    assert api_version(given) == expected
    assert json.loads(page_as_json(given))["meta"]["api-version"] == expected
    assert f'content="{expected}"' in page_as_html(given).decode()


def test_nothing_of_upstream_comes_to_life_in_html() -> None:
    text = page_as_html(
        page(
            served(yanked=EVIL, requires_python=EVIL, provenance=EVIL),
            status=EVIL,
            reason=EVIL,
            tracks=(EVIL,),
            alternate_locations=(EVIL,),
        )
    ).decode()

    assert "<script" not in text
    assert "<!--" not in text
    assert text.count("<") == text.count(">")
    (link,) = [tag.attributes for tag in read_tags(text) if tag.name == "a"]
    assert link["data-yanked"] == link["data-requires-python"] == EVIL
    found = b"".join(list_as_html(["a<script>"]))
    assert b"<script" not in found


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
FILES = st.builds(
    served,
    st.sampled_from(["fx-1.0-py3-none-any.whl", "fx-1.0.zip", "fx-1.0+l.1.tar.gz"]),
    requires_python=TEXTS.filter(bool) | st.none(),
    upload_time=TEXTS.filter(bool) | st.none(),
    yanked=TEXTS | st.none() | st.just(EVIL),
    metadata=st.sampled_from([None, "", "d" * 64]),
    provenance=st.sampled_from([None, "https://index.example.org/p"]),
    size=st.integers(0, (1 << 63) - 1) | st.none(),
)


@given(st.lists(FILES, max_size=3, unique_by=lambda file: file.filename), TEXTS | st.none())
def test_what_is_written_is_read_again(files: list[PageFile], reason: str | None) -> None:
    written = page(*files, status="archived", reason=reason or None)

    from_json = read_page(page_as_json(written), JSON, URL, "fx")
    from_html = read_page(page_as_html(written), HTML, URL, "fx")

    bare = {"url": "", "kind": "", "tags": "", "version": ""}
    expected = [msgspec.structs.replace(file, **bare) for file in files]
    assert [msgspec.structs.replace(file, **bare) for file in from_json.files] == expected
    unsaid: dict[str, Any] = {**bare, "size": None, "upload_time": None}
    expected = [msgspec.structs.replace(file, **unsaid) for file in files]
    assert [msgspec.structs.replace(file, **bare) for file in from_html.files] == expected
    for found in (from_json, from_html):
        assert (found.status, found.reason) == ("archived", reason or None)
        assert found.refused == ()
        assert [file.url for file in found.files] == [
            f"https://index.example.org/files/fx/{file_url('fx', file.filename).rpartition('/')[2]}"
            for file in files
        ]


@pytest.mark.parametrize("number", [0, 1, 1999, 2000, 2001, 5000])
def test_lists_are_written_in_pieces(number: int) -> None:
    names = [f"Fx.{each:05}" for each in range(number)]

    of_json = list(list_as_json(names, 12))
    of_html = list(list_as_html(names))

    expected = tuple((f"fx-{each:05}", None) for each in range(number))
    found = read_project_list(b"".join(of_json), JSON, URL)
    assert (found.serial, found.projects) == (12, expected)
    assert read_project_list(b"".join(of_html), HTML, URL).projects == expected
    assert max(map(len, of_json + of_html)) < 200_000
    assert json.loads(b"".join(list_as_json(iter(names)))) == {
        "meta": {"api-version": "1.1"},
        "projects": [{"name": name} for name in names],
    }


def test_a_large_page_is_written_soon() -> None:
    files = [
        served(f"fx-1.{n}-py3-none-any.whl", requires_python=">=3.8", metadata="b" * 64)
        for n in range(244)
    ]
    began = time.process_time()

    page_as_json(page(*files))
    page_as_html(page(*files))

    assert time.process_time() - began < 0.1
