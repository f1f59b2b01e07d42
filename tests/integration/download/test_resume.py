"""A body that broke is continued where it broke, or begun again where that is not safe."""

import pytest

from flowsync.errors import BrokenBodyError, StatusError
from tests.integration.download.conftest import Client
from tests.upstream.behaviours import (
    Behaviour,
    Change,
    Chunked,
    Corrupt,
    Cut,
    Drop,
    Hang,
    IgnoreRange,
    Lie,
    Reset,
    Status,
    WrongRange,
)
from tests.upstream.server import Upstream

SIZE = 300_000
SHA256 = "be4c88edc04c2a1f0721450fad9718e34755e8cfac475d78700130aab822f0ba"


async def test_half_a_body_then_a_corrupt_one_then_429_then_good(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    """The second half is continued instead of fetched anew; the corrupt byte is in it."""
    upstream.script("/a", Cut(150_000), Corrupt(at=10), Status(429))
    url = upstream.put("/a", body)

    fetched = await client.fetcher.download(client.request(url, expected={"sha256": SHA256}))

    assert upstream.count("/a") == 4
    assert fetched.size == SIZE
    assert [seen.headers.get("range") for seen in upstream.seen] == [
        None,
        "bytes=150000-",
        None,
        None,
    ]


async def test_no_byte_is_fetched_twice(client: Client, upstream: Upstream, body: bytes) -> None:
    upstream.script("/a", Cut(100_000), Cut(100_000), Cut(50_000))

    found = await client.get(upstream.put("/a", body), size=SIZE)

    assert found == body
    assert upstream.sent("/a") == SIZE
    assert upstream.seen[1].headers["if-range"] == upstream.seen[3].headers["if-range"]
    assert [seen.headers.get("range") for seen in upstream.seen] == [
        None,
        "bytes=100000-",
        "bytes=200000-",
        "bytes=250000-",
    ]


@pytest.mark.parametrize("behaviour", [Reset(100_000), Hang(after=100_000), Lie(by=7)])
async def test_body_that_breaks_in_another_way_comes_out_right(
    client: Client, upstream: Upstream, body: bytes, behaviour: Behaviour
) -> None:
    client.fields["stall_timeout"] = 0.1
    upstream.script("/a", behaviour)

    assert await client.get(upstream.put("/a", body)) == body


async def test_failures_between_the_parts_keep_what_has_come(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    upstream.script("/a", Cut(100_000), Status(503), Drop(), Drop())

    found = await client.get(upstream.put("/a", body))

    assert found == body
    assert upstream.seen[-1].headers["range"] == "bytes=100000-"


async def test_date_serves_where_there_is_no_tag(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    upstream.script("/a", Cut(100_000))

    found = await client.get(upstream.put("/a", body, etag=None))

    assert found == body
    assert upstream.seen[1].headers["if-range"] == "Mon, 06 Jan 2025 10:00:00 GMT"
    assert upstream.sent("/a") == SIZE


@pytest.mark.parametrize(
    ("etag", "date"), [("weak", "Mon, 06 Jan 2025 10:00:00 GMT"), (None, None)]
)
async def test_without_a_strong_validator_the_body_begins_again(
    client: Client, upstream: Upstream, body: bytes, etag: str | None, date: str | None
) -> None:
    upstream.script("/a", Cut(100_000))

    found = await client.get(upstream.put("/a", body, etag=etag, last_modified=date))

    assert found == body
    assert "range" not in upstream.seen[1].headers
    assert upstream.sent("/a") == SIZE + 100_000


async def test_body_that_changed_meanwhile_begins_again(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    other = body[::-1]
    upstream.script("/a", Cut(100_000), Change(other))

    assert await client.get(upstream.put("/a", body)) == other
    assert upstream.count("/a") == 2


async def test_upstream_that_ignores_ranges_is_read_from_the_start(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    upstream.script("/a", Cut(100_000), IgnoreRange())

    assert await client.get(upstream.put("/a", body)) == body
    assert upstream.count("/a") == 2


async def test_wrong_range_is_not_believed(client: Client, upstream: Upstream, body: bytes) -> None:
    upstream.script("/a", Cut(100_000), WrongRange(by=1))

    assert await client.get(upstream.put("/a", body)) == body
    assert [seen.headers.get("range") for seen in upstream.seen] == [None, "bytes=100000-", None]


async def test_rest_that_is_gone_is_fetched_from_the_start(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    upstream.script("/a", Cut(100_000), WrongRange(by=SIZE))

    assert await client.get(upstream.put("/a", body)) == body
    assert [seen.status for seen in upstream.seen] == [200, 416, 200]


@pytest.mark.parametrize("behaviour", [Chunked(cut=True), Lie(by=1000)])
async def test_body_that_breaks_behind_its_last_byte_is_not_fetched_twice(
    client: Client, upstream: Upstream, body: bytes, behaviour: Behaviour
) -> None:
    upstream.script("/a", behaviour)

    assert await client.get(upstream.put("/a", body)) == body
    assert upstream.sent("/a") == SIZE


async def test_body_that_was_whole_and_is_shorter_now_begins_again(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    """Its validator tells the two apart, though both end where nothing more is asked for."""
    other = body[:50_000]
    upstream.script("/a", Cut(50_000), Change(other))

    assert await client.get(upstream.put("/a", body)) == other


async def test_tries_are_retries_and_one(client: Client, upstream: Upstream, body: bytes) -> None:
    client.fields["max_retries"] = 2
    upstream.always("/a", Cut(1000))

    with pytest.raises(BrokenBodyError, match="broke off after 3000 bytes") as failed:
        await client.get(upstream.put("/a", body))

    assert upstream.count("/a") == 3
    assert failed.value.__notes__ == ["after 3 tries"]


async def test_no_retries_mean_one_try(client: Client, upstream: Upstream, body: bytes) -> None:
    client.fields["max_retries"] = 0
    upstream.script("/a", Status(503))

    with pytest.raises(StatusError):
        await client.get(upstream.put("/a", body))

    assert upstream.count("/a") == 1


async def test_client_error_gives_up_at_once(client: Client, upstream: Upstream) -> None:
    upstream.script("/a", Status(403))

    with pytest.raises(StatusError, match="status 403 Forbidden"):
        await client.get(upstream.put("/a", b"body"))

    assert upstream.count("/a") == 1
