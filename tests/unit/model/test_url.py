"""URLs are shown without secrets and lead to a known party."""

import pytest

from flowsync.model.url import holds_user, origin, redact, scheme


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a/b.deb", "https://host/a/b.deb"),
        ("https://user:secret@host:8443/a", "https://host:8443/a"),
        ("https://host/a?X-Sig=secret&X-Date=now", "https://host/a?X-Sig=***&X-Date=***"),
        ("https://host/a?secret", "https://host/a?***"),
        ("https://host/a?empty=", "https://host/a?empty="),
        ("https://host/a#secret", "https://host/a"),
        ("https://host/a@b/c", "https://host/a@b/c"),
        ("https://host?token=a@b", "https://host?token=***"),
        ("user:secret@host/a", "host/a"),
        ("file:///data/is it?#1", "file:///data/is it?#1"),
        ("file://user:secret@host/data", "file://host/data"),
        ("", ""),
    ],
)
def test_redacted_url_shows_no_secret(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("url", "party"),
    [
        ("http://host/a", ("http", "host", 80)),
        ("HTTPS://Host:8443/a", ("https", "host", 8443)),
        ("https://user@host?x", ("https", "host", 443)),
        ("https://[::1]/a", ("https", "::1", 443)),
        ("http://host\\@evil/a", ("http", "host", 80)),
        ("file:///a", ("file", "", 0)),
    ],
)
def test_origin_names_scheme_host_and_port(url: str, party: tuple[str, str, int]) -> None:
    assert origin(url) == party


@pytest.mark.parametrize("url", ["http:///a", "host/a", "http://host:99999/", "http://[::1/", ""])
def test_origin_of_a_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- the kind is what is promised
        origin(url)


def test_user_is_found_in_the_authority_only() -> None:
    assert holds_user("http://user@host/a")
    assert holds_user("http://:secret@host/a")
    assert not holds_user("http://host/user@a")
    assert not holds_user("http://host/?a=b@c")


def test_scheme_is_lower_case_and_empty_where_there_is_none() -> None:
    assert scheme("HTTP://host") == "http"
    assert scheme("host/a") == ""


def test_url_is_shown_without_what_cannot_be_shown() -> None:
    shown = redact("http://host/\udcf3\x1b[31m\u202e?a=\0")

    assert shown == "http://host/%F3%1B[31m%E2%80%AE?a=***"


@pytest.mark.parametrize(
    "url", ["http://a..b/", "http://user:secret@h:port/", "http://[secret/", "http://secr et/"]
)
def test_party_of_a_malformed_url_is_an_error_that_quotes_nothing(url: str) -> None:
    with pytest.raises(ValueError, match=r"malformed|port") as refused:
        origin(url)

    assert "secr" not in str(refused.value)
