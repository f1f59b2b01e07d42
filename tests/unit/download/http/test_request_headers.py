"""What requests say, and to whom."""

from typing import Any

from flowsync.download.http.redirects import Greeting, Hop, compose, follow, start
from flowsync.download.transfer.attempt import Tally
from flowsync.model.remote import FetchRequest, Remote, Validators

URL = "https://host/a"


def headers_of(
    remote: Remote, hop: Hop | None = None, tally: Tally | None = None, **request: Any
) -> list[tuple[str, str]]:
    asked = FetchRequest(url=URL, remote=remote, **request)
    return compose(
        Greeting("flowsync/1", remote), asked, hop or start(URL, remote.url), tally or Tally(asked)
    )


def remote_with(**fields: Any) -> Remote:
    return Remote(name="r", url="https://host/", **fields)


def test_default_user_agent_and_no_compression() -> None:
    assert headers_of(remote_with()) == [
        ("User-Agent", "flowsync/1"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
    ]


def test_own_user_agent_is_appended_after_a_comma() -> None:
    found = headers_of(remote_with(headers=[("user-agent", "mirror/2")]))

    assert found[0] == ("User-Agent", "flowsync/1, mirror/2")


def test_own_headers_are_sent_and_repeated_ones_repeatedly() -> None:
    found = headers_of(remote_with(headers=[("X-Key", "1"), ("X-Key", "2")]))

    assert [value for name, value in found if name == "X-Key"] == ["1", "2"]


def test_missing_password_is_an_empty_one() -> None:
    found = headers_of(remote_with(username="aladdin"))

    assert ("Authorization", "Basic YWxhZGRpbjo=") in found


def test_token_is_a_bearer_and_replaces_an_authorization_header() -> None:
    found = headers_of(remote_with(token="t", headers=[("authorization", "old")]))

    assert [value for name, value in found if name.lower() == "authorization"] == ["Bearer t"]


def test_nothing_of_the_remote_but_the_harmless_goes_to_another_party() -> None:
    remote = remote_with(
        token="t", headers=[("X-Key", "1"), ("Accept", "text/html"), ("User-Agent", "m/2")]
    )

    found = headers_of(remote, start("https://cdn/a", remote.url))

    assert found == [
        ("User-Agent", "flowsync/1, m/2"),
        ("Accept", "text/html"),
        ("Accept-Encoding", "identity"),
    ]


def test_headers_of_the_request_replace_those_of_the_remote() -> None:
    remote = remote_with(headers=[("Accept", "text/html"), ("Range", "bytes=0-1")])

    found = headers_of(remote, headers={"accept": "application/json", "If-Range": "x"})

    assert found == [
        ("User-Agent", "flowsync/1"),
        ("accept", "application/json"),
        ("Accept-Encoding", "identity"),
    ]


def test_secrets_of_the_request_stay_with_its_first_party() -> None:
    remote = remote_with()
    first = start("https://registry/a", remote.url)
    sent = {"Authorization": "Bearer t", "Accept": "x"}

    there = headers_of(remote, first, headers=sent)
    redirected = headers_of(remote, follow(first, "https://cdn/a"), headers=sent)

    assert ("Authorization", "Bearer t") in there
    assert redirected[1:] == [("Accept", "x"), ("Accept-Encoding", "identity")]


def test_conditional_request_sends_what_is_known() -> None:
    found = headers_of(remote_with(), validators=Validators('"e"', "yesterday"))

    assert found[2:] == [
        ("Accept-Encoding", "identity"),
        ("If-None-Match", '"e"'),
        ("If-Modified-Since", "yesterday"),
    ]


def test_next_try_asks_for_the_rest_and_for_nothing_else() -> None:
    remote = remote_with()
    tally = Tally(FetchRequest(url=URL, remote=remote))
    tally.add(100)
    tally.validator = '"e"'

    found = headers_of(remote, tally=tally, compressed=True, validators=Validators('"old"'))

    assert found[2:] == [
        ("Accept-Encoding", "identity"),
        ("Range", "bytes=100-"),
        ("If-Range", '"e"'),
    ]


def test_compression_is_offered_where_the_request_allows_it() -> None:
    assert headers_of(remote_with(), compressed=True)[2] == ("Accept-Encoding", "gzip")
