import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowsync import MetadataError
from flowsync.sources.pypi.pages.project_list import read_project_list
from tests.unit.sources.pypi.pages import HTML, JSON

URL = "https://index.example.org/simple/"


def json_list(*projects: dict[str, Any], api: str = "1.1", **meta: Any) -> bytes:
    return json.dumps({"meta": {"api-version": api, **meta}, "projects": projects}).encode()


def test_names_are_normalized_in_order_and_each_once() -> None:
    body = json_list(
        {"name": "six", "_last-serial": 3},
        {"name": "Fx.Weird_Name", "_last-serial": "2"},
        {"name": "fx_weird-name", "_last-serial": 4},
        {"name": "acme", "other": []},
        **{"_last-serial": "25862117"},
    )

    found = read_project_list(body, JSON, URL)

    assert found.serial == 25862117
    assert found.projects == (("acme", None), ("fx-weird-name", 4), ("six", 3))
    assert found.refused == ()


def test_a_list_of_devpi_has_names_only() -> None:
    found = read_project_list(json_list({"name": "six"}, api="1.0"), JSON, URL)

    assert (found.serial, found.projects) == (None, (("six", None),))


def test_a_list_of_html_is_read() -> None:
    body = (
        b'<html><head><meta name="pypi:repository-version" content="1.1"><title>x</title></head>'
        b'<body><a href="/simple/six/">six</a> <a href="fx-weird-name/"> Fx.Weird_Name </a>'
        b"<a name=top>top</a><a href=/x>../x</a></body></html>"
    )

    found = read_project_list(body, HTML, URL)

    assert found.projects == (("fx-weird-name", None), ("six", None))
    assert [(each.filename, each.rule) for each in found.refused] == [("../x", "name")]


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a\0", "é", "-a", "a" * 129, "a\n"])
def test_hostile_names_are_left_out(name: str) -> None:
    found = read_project_list(json_list({"name": name}, {"name": "six"}), JSON, URL)

    assert found.projects == (("six", None),)
    assert found.refused_total == 1
    assert found.refused[0].filename.isprintable()


def test_of_refused_names_some_are_told_and_all_counted() -> None:
    found = read_project_list(json_list(*[{"name": "../x"}] * 500), JSON, URL)

    assert (len(found.refused), found.refused_total) == (100, 500)


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (json_list(), "application/json", "its content type is 'application/json'"),
        (json_list(), "application/vnd.pypi.simple.v2+json", "version 1 is read"),
        (json_list(api="2.0"), JSON, "its format has version '2.0'"),
        (b'<meta name="pypi:repository-version" content="2.0">', HTML, "has version '2.0'"),
        (b"{}", JSON, "missing required field"),
        (b"\xff", JSON, "no JSON"),
        (b"\xff", HTML, "not in utf-8"),
        (b"<a href=x", HTML, "has no end"),
        (json_list({"name": 5}), JSON, "Expected `str`"),
    ],
)
def test_what_is_no_list_is_an_error(body: bytes, content_type: str, reason: str) -> None:
    with pytest.raises(MetadataError, match=rf"^{URL}: list of projects: .*{reason}"):
        read_project_list(body, content_type, URL)


def test_a_list_that_is_nested_too_deep_is_an_error() -> None:
    with pytest.raises(MetadataError, match="list of projects: it is nested too deep"):
        read_project_list(b'{"x":' * 500_000, JSON, URL)


@given(st.binary(max_size=60) | st.text('{}[]":,meta1.<a>', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for content_type in (JSON, HTML):
        try:
            read_project_list(body, content_type, URL)
        except MetadataError:
            continue


def test_seventy_thousand_names_are_read_soon() -> None:
    body = json_list(
        *({"_last-serial": n, "name": f"Foo_Bar.{n}" if n % 3 else f"x{n}"} for n in range(70_000))
    )
    began = time.process_time()

    found = read_project_list(body, JSON, URL)

    assert len(found.projects) == 70_000
    assert time.process_time() - began < 1
