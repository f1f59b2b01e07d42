"""Where requests and redirects go, and what travels along."""

import pytest

from flowsync.download.http.redirects import follow, start
from flowsync.errors import RedirectError, UnsupportedUrlError

REMOTE = "https://host/repository/"


@pytest.mark.parametrize(
    "url",
    [
        "https://host/a%2Fb%2fc?sig=a%2Bb+c%3D&x=%41",
        "https://host/a/../b",
        "https://host:8443/~user/(1)/a;b=c,d'e!$&*",
        "https://[::1]:8443/a",
    ],
)
def test_legal_url_goes_over_the_wire_as_it_is(url: str) -> None:
    assert start(url, REMOTE).url == url


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://host/a b", "https://host/a%20b"),
        ("https://host/ä", "https://host/%C3%A4"),
        ("https://host/100%/a%20b", "https://host/100%/a%20b"),
        ("https://host/a#fragment", "https://host/a"),
        ("https://bücher.example:8443/a", "https://xn--bcher-kva.example:8443/a"),
        ("https://host/a\r\nEvil: 1", "https://host/a%0D%0AEvil:%201"),
    ],
)
def test_only_illegal_characters_are_encoded(url: str, sent: str) -> None:
    assert start(url, REMOTE).url == sent


@pytest.mark.parametrize(
    "url", ["https://", "https:///a", "https://host:port/", "https://user:secret@host/a"]
)
def test_malformed_url_and_one_with_credentials_is_refused(url: str) -> None:
    with pytest.raises(UnsupportedUrlError) as refused:
        start(url, REMOTE)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://host/other", True),
        ("https://HOST:443/other", True),
        ("https://host:8443/other", False),
        ("http://host/other", False),
        ("https://other/repository/", False),
    ],
)
def test_credentials_go_to_the_party_of_the_remote_only(url: str, trusted: bool) -> None:
    assert start(url, REMOTE).trusted is trusted


def test_credentials_follow_an_upgrade_to_https_on_the_usual_ports() -> None:
    first = start("http://host/a", "http://host/")

    assert follow(first, "https://host/a").trusted
    assert not follow(first, "https://host:8443/a").trusted


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("b?sig=%2B", "https://host/x/b?sig=%2B"),
        ("/b", "https://host/b"),
        ("//cdn/b", "https://cdn/b"),
        ("https://cdn/a b", "https://cdn/a%20b"),
    ],
)
def test_redirect_is_resolved_against_where_it_came_from(location: str, target: str) -> None:
    assert follow(start("https://host/x/a", REMOTE), location).url == target


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        (None, "to nowhere"),
        ("", "to nowhere"),
        ("http://host/a", "from https to http"),
        ("ftp://host/a", "another scheme"),
        ("file:///etc/passwd", "another scheme"),
        ("https://user:secret@host/a", "with credentials"),
        ("https://host:port/a", "malformed"),
    ],
)
def test_bad_redirect_is_refused(location: str | None, reason: str) -> None:
    with pytest.raises(RedirectError, match=reason) as refused:
        follow(start("https://host/a?sig=secret", REMOTE), location)

    assert "secret" not in str(refused.value)


def test_trust_that_was_lost_does_not_come_back() -> None:
    away = follow(start("https://host/a", REMOTE), "https://cdn/a")
    back = follow(away, "https://host/a")

    assert (away.trusted, away.first) == (False, False)
    assert (back.trusted, back.first) == (False, False)
