"""One body over HTTP, from an upstream that does as it likes."""

import asyncio
import gzip
import socket
from pathlib import Path
from typing import Any

import pytest

from flowsync.download.fetcher import Backoff, open_fetcher
from flowsync.errors import (
    BrokenBodyError,
    OversizedBodyError,
    SizeMismatchError,
    StatusError,
    TransferError,
    TransferTimeoutError,
    UnreachableError,
    UnsupportedUrlError,
)
from flowsync.model.remote import Validators
from tests.integration.download.conftest import Client
from tests.upstream.behaviours import (
    Behaviour,
    Chunked,
    Cut,
    Drip,
    Drop,
    Garbage,
    Gzip,
    HalfHead,
    Hang,
    Hold,
    Lie,
    Reset,
    Status,
    Unmeasured,
)
from tests.upstream.server import LAST_MODIFIED, Upstream


async def test_body_arrives_with_headers_and_validators(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    found, received = await client.receive(upstream.put("/a", body, etag=None))

    assert found == body
    assert received.url == upstream.url("/a")
    assert received.size == 300_000
    assert received.headers["content-length"] == "300000"
    assert received.validators == Validators(None, LAST_MODIFIED)


async def test_empty_body_is_legal(client: Client, upstream: Upstream) -> None:
    assert await client.get(upstream.put("/empty", b""), size=0) == b""


@pytest.mark.parametrize("behaviour", [Drip(40_000), Chunked(1000), Unmeasured()])
async def test_body_arrives_however_it_is_sent(
    client: Client, upstream: Upstream, body: bytes, behaviour: Behaviour
) -> None:
    upstream.script("/a", behaviour)

    assert await client.get(upstream.put("/a", body), size=300_000) == body


async def test_connections_are_used_again(client: Client, upstream: Upstream) -> None:
    url = upstream.put("/a", b"body")

    for _ in range(5):
        await client.get(url)

    assert upstream.connections == 1


async def test_product_is_named_in_the_user_agent(client: Client, upstream: Upstream) -> None:
    client.fields["headers"] = [("User-Agent", "mirror/2")]

    await client.get(upstream.put("/a", b""))

    agent = upstream.seen[0].headers["user-agent"]
    assert agent.startswith("flowsync/1 (")
    assert agent.endswith(", mirror/2")


async def test_own_headers_and_credentials_are_sent(client: Client, upstream: Upstream) -> None:
    client.fields |= {"headers": [("X-Key", "1"), ("X-Key", "2")], "username": "aladdin"}

    await client.get(upstream.put("/a", b""), headers={"Accept": "text/html"})

    sent = upstream.seen[0].headers
    assert (sent["x-key"], sent["authorization"], sent["accept"]) == (
        "1, 2",
        "Basic YWxhZGRpbjo=",
        "text/html",
    )


async def test_signed_url_survives(client: Client, upstream: Upstream) -> None:
    upstream.put("/a%2Fb", b"body")
    url = upstream.url("/a%2Fb?sig=a%2bB%2F%3D+c&x=%41")

    await client.get(url)

    assert upstream.seen[0].target == "/a%2Fb?sig=a%2bB%2F%3D+c&x=%41"


async def test_artifact_comes_as_it_is_stored_even_if_labelled_compressed(
    client: Client, upstream: Upstream
) -> None:
    upstream.script("/a", Gzip())

    found = await client.get(upstream.put("/a", b"body"))

    assert upstream.seen[0].headers["accept-encoding"] == "identity"
    assert found == gzip.compress(b"body", mtime=0)


async def test_compressed_metadata_is_unpacked(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    upstream.script("/a", Gzip())

    found, received = await client.receive(upstream.put("/a", body), compressed=True)

    assert upstream.seen[0].headers["accept-encoding"] == "gzip"
    assert (found, received.size) == (body, 300_000)


async def test_broken_compression_is_fetched_anew(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    upstream.script("/a", Gzip(after=5000))

    assert await client.get(upstream.put("/a", body), compressed=True) == body
    assert "range" not in upstream.seen[1].headers


async def test_compression_nobody_offered_is_refused(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    client.fields["max_retries"] = 0
    upstream.script("/a", Gzip(label="br"))

    with pytest.raises(BrokenBodyError, match="compressed as 'br', not gzip"):
        await client.get(upstream.put("/a", body), compressed=True)


async def test_small_body_that_unpacks_to_a_huge_one_is_bounded(
    client: Client, upstream: Upstream
) -> None:
    upstream.script("/a", Gzip())

    with pytest.raises(OversizedBodyError):
        await client.get(upstream.put("/a", bytes(50 << 20)), compressed=True, max_size=1 << 20)


async def test_conditional_request_finds_nothing_newer(client: Client, upstream: Upstream) -> None:
    url = upstream.put("/a", b"body")
    _, first = await client.receive(url)

    found, again = await client.receive(url, validators=first.validators)

    assert (found, again.size, again.not_modified) == (b"", 0, True)
    assert upstream.sent("/a") == 4


async def test_conditional_request_finds_something_newer(
    client: Client, upstream: Upstream
) -> None:
    url = upstream.put("/a", b"body")
    _, first = await client.receive(url)
    upstream.put("/a", b"other")

    found, again = await client.receive(url, validators=first.validators)

    assert (found, again.not_modified) == (b"other", False)


@pytest.mark.parametrize(
    ("behaviour", "error", "reason"),
    [
        (Cut(1000), BrokenBodyError, "broke off after 1000 bytes"),
        (Reset(1000), BrokenBodyError, "broke off after"),
        (Chunked(1000, cut=True), BrokenBodyError, "broke off after 300000 bytes"),
        (Lie(by=1), BrokenBodyError, "broke off after 300000 bytes"),
        (Drop(), UnreachableError, "disconnected"),
        (HalfHead(), UnreachableError, "disconnected"),
        (Garbage(), BrokenBodyError, "cannot be understood"),
        (Hang(), TransferTimeoutError, "nothing arrived within 0.1 s"),
        (Hang(after=1000), TransferTimeoutError, "nothing arrived within 0.1 s"),
        (Status(404), StatusError, "status 404 Not Found"),
        (Status(503), StatusError, "status 503 Service Unavailable"),
    ],
)
async def test_failure_has_a_class_and_a_reason_and_no_secret(
    client: Client,
    upstream: Upstream,
    body: bytes,
    behaviour: Behaviour,
    error: type[TransferError],
    reason: str,
) -> None:
    client.fields |= {"max_retries": 0, "stall_timeout": 0.1}
    upstream.always("/a", behaviour)

    with pytest.raises(error, match=reason) as failed:
        await client.get(upstream.put("/a", body) + "?token=secret")

    assert failed.value.url == upstream.url("/a?token=***")
    assert "secret" not in _everything_said(failed.value)


def _everything_said(error: BaseException) -> str:
    cause = error.__cause__
    return f"{error!r} {error} {getattr(error, '__notes__', '')}" + (
        _everything_said(cause) if cause is not None else ""
    )


async def test_total_time_out_ends_a_body_that_drips(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    client.fields |= {"max_retries": 0, "total_timeout": 0.2}
    upstream.script("/a", Drip(1))

    with pytest.raises(TransferTimeoutError, match=r"not complete within 0.2 s"):
        await client.get(upstream.put("/a", body))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"size": 4}, "size is 5 bytes, expected 4"),
        ({"size": 6}, "size is 5 bytes, expected 6"),
    ],
)
@pytest.mark.parametrize("behaviour", [Unmeasured(), Chunked()])
async def test_wrong_size_is_found_while_reading(
    client: Client, upstream: Upstream, fields: dict[str, Any], error: str, behaviour: Behaviour
) -> None:
    client.fields["max_retries"] = 0
    upstream.script("/a", behaviour)

    with pytest.raises(SizeMismatchError, match=error):
        await client.get(upstream.put("/a", b"12345"), **fields)


async def test_wrong_size_is_found_before_reading(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    client.fields["max_retries"] = 0
    upstream.script("/a", Hang(after=0))

    with pytest.raises(SizeMismatchError, match="size is 300000 bytes, expected 4"):
        await client.get(upstream.put("/a", body), size=4)


@pytest.mark.parametrize("behaviour", [Hang(after=0), Unmeasured(), Chunked()])
async def test_body_over_the_limit_is_refused_at_once(
    client: Client, upstream: Upstream, body: bytes, behaviour: Behaviour
) -> None:
    upstream.script("/a", behaviour)

    with pytest.raises(OversizedBodyError, match="at most 1000 are taken"):
        await client.get(upstream.put("/a", body), max_size=1000)

    assert upstream.count() == 1


async def test_unreachable_host_is_an_error_that_names_it(client: Client) -> None:
    with pytest.raises(UnreachableError, match=r"http://127.0.0.1:1/a: .*Connect"):
        await client.get("http://127.0.0.1:1/a")


async def test_unknown_host_is_an_error_that_names_it(client: Client) -> None:
    client.fields["max_retries"] = 0

    with pytest.raises(UnreachableError, match=r"nowhere.invalid"):
        await client.get("http://nowhere.invalid/a")


async def test_connection_that_never_stands_is_given_up(client: Client) -> None:
    """The kernel accepts, but nobody answers the handshake."""
    client.fields |= {"max_retries": 0, "connect_timeout": 0.1}
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"https://127.0.0.1:{mute.getsockname()[1]}/a?t=secret"

        with pytest.raises(TransferTimeoutError, match=r"no connection within 0.1 s") as failed:
            await client.get(url)

    assert "secret" not in _everything_said(failed.value)


@pytest.mark.parametrize("url", ["ftp://host/a", "host/a", "http://user:secret@host/a", "http://"])
async def test_url_that_nobody_can_fetch_is_refused(client: Client, url: str) -> None:
    with pytest.raises(UnsupportedUrlError) as refused:
        await client.get(url)

    assert "secret" not in str(refused.value)


async def test_unknown_scheme_is_named_with_the_known_ones(client: Client) -> None:
    with pytest.raises(
        UnsupportedUrlError, match=r"ftp://host/a: scheme 'ftp' is none of file, http, https"
    ):
        await client.get("ftp://host/a")


async def test_host_gets_as_many_requests_at_once_as_the_remote_allows(
    client: Client, upstream: Upstream
) -> None:
    client.fields["download_concurrency"] = 3
    for number in range(8):
        upstream.put(f"/{number}", b"body")
        upstream.always(f"/{number}", Hold())

    async with asyncio.TaskGroup() as group:
        fetching = [group.create_task(client.get(upstream.url(f"/{n}"))) for n in range(8)]
        await asyncio.to_thread(upstream.wait_for, 3)
        upstream.release()

    assert [task.result() for task in fetching] == [b"body"] * 8
    assert upstream.peak == 3


async def test_whoever_backs_off_holds_no_slot(upstream: Upstream, tmp_path: Path) -> None:
    busy, other = upstream.put("/busy", b"busy"), upstream.put("/other", b"other")
    upstream.script("/busy", Status(503))

    async with open_fetcher(tmp_path, backoff=Backoff(base=3600, cap=3600)) as fetcher:
        patient = Client(fetcher, tmp_path, upstream.url())
        patient.fields["download_concurrency"] = 1
        waiting = asyncio.create_task(patient.get(busy))
        await asyncio.to_thread(upstream.wait_for, 1, "/busy")

        assert await patient.get(other) == b"other"
        assert not waiting.done()

        waiting.cancel()
        await asyncio.wait([waiting])


async def test_cancelled_transfer_ends_at_once_and_frees_its_slot(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    client.fields["download_concurrency"] = 1
    url = upstream.put("/a", body)
    upstream.script("/a", Hang(after=1000))

    fetching = asyncio.create_task(client.get(url))
    await asyncio.to_thread(upstream.wait_for, 1)
    fetching.cancel()
    await asyncio.wait([fetching])

    assert fetching.cancelled()
    assert await client.get(url) == body


async def test_failure_of_the_sink_is_not_a_failure_of_the_transfer(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    class Full:
        held = None

        def begin(self, validator: str | None) -> None:
            pass

        async def write(self, chunk: bytes) -> None:
            raise OSError("no space")

        def direct(self, size: int) -> None:
            pass

        async def restart(self) -> None:
            raise AssertionError

        async def finish(self) -> None:
            raise AssertionError

    with pytest.raises(OSError, match="no space"):
        await client.fetcher.stream(client.request(upstream.put("/a", body)), Full())

    assert upstream.count() == 1
