"""A remote that contradicts itself is refused; one that is shown keeps its secrets."""

from typing import Any

import pytest

from flowsync.model.errors import DeclarationError
from flowsync.model.remote import Remote


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"name": ""}, "needs a name"),
        ({"url": "host/a"}, "no scheme, found 'host/a'"),
        ({"url": "https://user:secret@host/a"}, "url holds credentials"),
        ({"proxy_url": "https://user:secret@host"}, "proxy_url holds credentials"),
        ({"proxy_url": "socks5://host"}, "must be http or https"),
        ({"download_concurrency": 0}, "at least 1, found 0"),
        ({"max_retries": -1}, "at least 0, found -1"),
        ({"total_timeout": 0}, "positive seconds or None, found 0"),
        ({"stall_timeout": -1.0}, "positive seconds or None, found -1.0"),
        ({"username": "a", "token": "secret"}, "exclude each other"),
        ({"password": "secret"}, "needs a username"),
        ({"username": "a:b", "password": "secret"}, "cannot hold a colon"),
        ({"token": "secret\n"}, "control characters"),
        ({"client_key": "secret"}, "needs a client_cert"),
        ({"headers": [("X Y", "secret")]}, "cannot be the name"),
        ({"headers": [("X-Y", "secret\r\nEvil: 1")]}, "control characters"),
        ({"proxy_url": "http://host", "proxy_username": "a"}, "go together"),
        ({"proxy_username": "a", "proxy_password": "secret"}, "need a proxy_url"),
    ],
)
def test_contradicting_remote_is_refused_without_telling_secrets(
    fields: dict[str, Any], found: str
) -> None:
    with pytest.raises(DeclarationError, match=found) as refused:
        Remote(**{"name": "r", "url": "http://host/", **fields})

    assert "secret" not in str(refused.value)


def test_remote_is_shown_without_secrets() -> None:
    remote = Remote(
        name="r",
        url="https://host/a?sig=secret",
        username="u",
        password="secret",
        headers=[("X-Key", "secret")],
        proxy_url="http://proxy",
        proxy_username="u",
        proxy_password="secret",
    )

    assert repr(remote) == "Remote(name='r', url='https://host/a?sig=***', policy='immediate')"


def test_limits_may_be_absent_and_retries_none_at_all() -> None:
    """Zero retries mean zero, an absent time-out means no limit."""
    remote = Remote(name="r", url="http://host/", max_retries=0, connect_timeout=None)

    assert (remote.max_retries, remote.connect_timeout, remote.total_timeout) == (0, None, None)
