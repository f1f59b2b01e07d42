"""A remote that contradicts itself is refused; one that is shown keeps its secrets."""

import math
from typing import Any, Literal

import pytest

from flowsync.errors import DeclarationError
from flowsync.model.remote import Fetched, FetchRequest, Received, Remote, Sink, Validators


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
        ({"name": "a\0b"}, "name holds a NUL"),
        ({"name": "a\udce9"}, "name holds a lone surrogate"),
        ({"name": "a\nb"}, "name and url cannot hold control characters"),
        ({"url": "http://h/a\nb"}, "name and url cannot hold control characters"),
        ({"username": "a", "password": "secret\udce9"}, "password holds a lone surrogate"),
        ({"headers": [("X-Key", "secret\udce9")]}, "control characters or a lone surrogate"),
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


@pytest.mark.parametrize(
    "field", ["total_timeout", "connect_timeout", "stall_timeout", "rate_limit", "bandwidth_limit"]
)
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, -1, 0, True, "5", 1e300, 10**4000, -(10**4000)]
)
def test_number_that_no_timer_takes_is_refused_by_field_and_value(field: str, value: Any) -> None:
    with pytest.raises(DeclarationError, match=f"remote 'r': {field} must be .* found ") as refused:
        Remote(name="r", url="http://host/", **{field: value})

    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("field", ["download_concurrency", "max_retries"])
@pytest.mark.parametrize("value", [math.nan, 1.5, True, "5", -1, 10**10, 10**4000])
def test_count_that_is_none_is_refused_by_field_and_value(field: str, value: Any) -> None:
    with pytest.raises(DeclarationError, match=f"remote 'r': {field} must be .* found "):
        Remote(name="r", url="http://host/", **{field: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "secret\0"},
        {"url": "http://host/secret\udcf3"},
        {"username": "a", "password": "secret\udcf3"},
        {"token": "secret\ud800"},
        {"token": 5},
    ],
)
def test_text_that_cannot_be_sent_or_kept_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=r"holds a NUL|holds a lone surrogate|is no text"):
        Remote(**{"name": "r", "url": "http://host/", **fields})


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


class Recorder:
    """A fetcher that brings nothing and keeps what was asked of it."""

    def __init__(self, *, closed: bool = False) -> None:
        self.closed = closed
        self.requests: list[FetchRequest] = []

    async def download(self, request: FetchRequest) -> Fetched:
        self.requests.append(request)
        return Fetched(
            url=request.url, path="/body", size=0, digests={}, headers={}, validators=Validators()
        )

    async def stream(self, request: FetchRequest, sink: Sink) -> Received:
        raise NotImplementedError


def remote(**fields: Any) -> Remote:
    return Remote(name="r", url="http://host/", **fields)


@pytest.mark.parametrize(
    ("policy", "deferred"), [("immediate", False), ("on_demand", True), ("streamed", True)]
)
def test_artifacts_are_deferred_unless_the_policy_is_immediate(
    policy: Literal["immediate", "on_demand", "streamed"], deferred: bool
) -> None:
    assert remote(policy=policy).deferred is deferred
    assert not remote().deferred


async def test_downloader_asks_the_fetcher_that_the_remote_is_bound_to() -> None:
    upstream, fetcher = remote(), Recorder()
    upstream.bind(fetcher)

    downloader = upstream.get_downloader(url="http://host/index", expected={"sha256": "ff"})
    result = await downloader.run()

    assert fetcher.requests == [
        FetchRequest(url="http://host/index", remote=upstream, expected={"sha256": "ff"})
    ]
    assert result.path == "/body"


def test_remote_that_no_run_has_bound_says_how_to_bind_it() -> None:
    with pytest.raises(DeclarationError, match=r"remote 'r' is not bound .* engine\.bind"):
        remote().get_downloader(url="http://host/index")


async def test_remote_can_be_bound_again_to_the_same_engine() -> None:
    upstream, fetcher = remote(), Recorder()
    upstream.bind(fetcher)

    upstream.bind(fetcher)

    await upstream.get_downloader(url="http://host/index").run()
    assert fetcher.requests == [FetchRequest(url="http://host/index", remote=upstream)]


def test_remote_of_an_open_engine_is_refused_by_another() -> None:
    """Its downloads would go through the connections and limits of whoever came last."""
    upstream = remote()
    upstream.bind(Recorder())

    with pytest.raises(DeclarationError, match="remote 'r' is in use by another open engine"):
        upstream.bind(Recorder())


async def test_remote_of_a_closed_engine_can_be_bound_to_another() -> None:
    upstream, fetcher = remote(), Recorder()
    upstream.bind(Recorder(closed=True))

    upstream.bind(fetcher)
    await upstream.get_downloader(url="http://host/index").run()

    assert len(fetcher.requests) == 1


def test_equal_remotes_are_not_the_same_remote() -> None:
    assert remote() != remote()
    assert len({remote(), remote()}) == 2
