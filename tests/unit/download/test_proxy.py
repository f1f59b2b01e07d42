"""The remote's proxy, then the environment's where the remote asks for it."""

from typing import Any

import pytest

from flowsync.download.proxy import Proxy, choose
from flowsync.model.remote import Remote
from flowsync.model.transfer_errors import UnsupportedUrlError

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
