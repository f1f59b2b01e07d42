"""The remote's proxy, then the environment's where the remote asks for it."""

from typing import Any

import pytest

from flowsync.download.http.connections import Proxy, choose
from flowsync.errors import UnsupportedUrlError
from flowsync.model.remote import Remote
from flowsync.model.url import origin

TARGET = ("https", "host", 443)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def remote_with(**fields: Any) -> Remote:
    return Remote(name="r", url="https://host/", **fields)


def test_own_proxy_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://other")

    remote = remote_with(
        proxy_url="http://proxy:3128",
        proxy_username="aladdin",
        proxy_password="opensesame",
        trust_env=True,
    )

    assert choose(remote, TARGET) == Proxy("http://proxy:3128", "Basic YWxhZGRpbjpvcGVuc2VzYW1l")


def test_environment_is_ignored_unless_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy")

    assert choose(remote_with(), TARGET) is None
    assert choose(remote_with(trust_env=True), TARGET) == Proxy("http://proxy", None)
    assert choose(remote_with(trust_env=True), ("http", "host", 80)) is None


def test_credentials_leave_the_url_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "aladdin:open%73esame@proxy:3128")

    assert choose(remote_with(trust_env=True), TARGET) == Proxy(
        "http://proxy:3128", "Basic YWxhZGRpbjpvcGVuc2VzYW1l"
    )


def test_excepted_hosts_are_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy")
    monkeypatch.setenv("no_proxy", "host,other")

    assert choose(remote_with(trust_env=True), TARGET) is None


def test_proxy_that_does_not_speak_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://user:secret@proxy")

    with pytest.raises(UnsupportedUrlError, match="only http and https") as refused:
        choose(remote_with(trust_env=True), TARGET)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("entries", "url", "excepted"),
    [
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.0.0.1/8", "http://10.9.9.9:8080/", True),
        ("10.0.0.0/8", "http://host10.0.0.1/", False),
        ("10.0.0.0/99", "http://10.0.0.1/", False),
        ("fd00::/8", "http://[fd12::1]/", True),
        ("fd00::/8", "http://10.0.0.1/", False),
        ("[fd00::]/8", "http://[fd12::1]/", True),
        ("10.0.0.0/8", "http://[::ffff:10.0.0.1]/", True),
        ("host:8080", "http://host:8080/", True),
        ("host:8080", "http://host/", False),
        ("host:443", "https://host/", True),
        ("a b\thost\n c", "http://host/", True),
        (" a , host ,,", "http://host/", True),
        ("example.org", "http://sub.example.org/", True),
        ("example.org", "http://badexample.org/", False),
        (".example.org", "http://example.org/", True),
        (".example.org", "http://a.b.example.org/", True),
        ("*.example.org", "http://a.example.org/", True),
        ("*.example.org", "http://example.org/", False),
        (".example.org:8080", "http://a.example.org:8080/", True),
        ("EXAMPLE.org.", "http://Example.ORG/", True),
        ("example.org", "http://example.org./", True),
        ("*", "http://anything/", True),
        ("a,*", "http://anything/", True),
        ("*:8080", "http://anything/", False),
        ("::1", "http://[::1]/", True),
        ("[::1]", "http://[::1]:8080/", True),
        ("[::1]:80", "http://[::1]:8080/", False),
        ("0:0:0:0:0:0:0:1", "http://[::1]/", True),
        ("127.0.0.1:80", "http://127.0.0.1/", True),
        ("0.1", "http://10.0.0.1/", False),
        ("bücher.example", "http://xn--bcher-kva.example/", True),
        (",", "http://host/", False),
        (".", "http://host/", False),
        ("", "http://host/", False),
    ],
)
def test_exceptions_are_read_as_other_clients_read_them(
    monkeypatch: pytest.MonkeyPatch, entries: str, url: str, excepted: bool
) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy")
    monkeypatch.setenv("NO_PROXY", entries)

    found = choose(remote_with(trust_env=True), origin(url))

    assert (found is None) is excepted


@pytest.mark.parametrize("url", ["http://[proxy", "http://user:secret@proxy:port", "http://"])
def test_malformed_proxy_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("https_proxy", url)

    with pytest.raises(UnsupportedUrlError, match="malformed") as refused:
        choose(remote_with(trust_env=True), TARGET)

    assert "secret" not in str(refused.value)
