"""The address of a version as its client would write it."""

from datetime import UTC, datetime

import pytest

from flowsync.serve.http.request import Address, version_url

NEWEST = Address(repository="a b")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("Example.org", "http://example.org/a%20b/"),
        ("example.org:8080", "http://example.org:8080/a%20b/"),
        ("[::1]:80", "http://[::1]:80/a%20b/"),
        (" 127.0.0.1 ", "http://127.0.0.1/a%20b/"),
        (None, None),
        ("", None),
        ("a/b", None),
        ("user@host", None),
        ("host:port", None),
        ("<script>", None),
        ("h" * 300, None),
    ],
)
def test_without_a_name_of_its_own_it_is_what_the_client_calls_it(
    host: str | None, url: str | None
) -> None:
    assert version_url(None, host, NEWEST) == url


def test_the_version_is_part_of_it() -> None:
    moment = datetime(2026, 11, 23, 10, tzinfo=UTC)

    assert (
        version_url("https://m/x/", None, Address(repository="r", number=3)) == "https://m/x/r@3/"
    )
    assert (
        version_url("https://m/x/", "h", Address(repository="r", moment=moment))
        == "https://m/x/r@2026-11-23T10:00:00+00:00/"
    )
