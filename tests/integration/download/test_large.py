"""Large bodies go past the client from the socket into their file, and come out as others do,
whatever happens on the way.
"""

import asyncio
import hashlib
import os
import resource
import socket
from pathlib import Path

import pytest

from flowsync.download.transfer.spool import Spool
from flowsync.errors import BrokenBodyError, DigestMismatchError, StoreError, TransferTimeoutError
from flowsync.model.remote import Received
from tests.integration.download.conftest import Client
from tests.upstream.behaviours import (
    Behaviour,
    Chunked,
    Corrupt,
    Cut,
    Drip,
    Gzip,
    Hang,
    Lie,
    Reset,
    Unmeasured,
)
from tests.upstream.certificates import Certificates
from tests.upstream.server import Upstream

MIB = 1 << 20
SIZE = 9 * MIB
LARGE = os.urandom(MIB) + bytes(8 * MIB)
SHA256 = hashlib.sha256(LARGE).hexdigest()
# What the client may have read before it knew that a large body comes: its buffer, twice at most,
# and a last piece.
READ_AHEAD = MIB


class Watched(Spool):
    """A spool that counts the bytes that the client brought."""

    def __init__(self, client: Client) -> None:
        super().__init__(str(client.scratch), 1 << 16)
        self.written = 0

    async def write(self, chunk: bytes) -> None:
        self.written += len(chunk)
        await super().write(chunk)


async def fetch(client: Client, url: str, **fields: object) -> tuple[Watched, Received]:
    """Fetch a body that comes out as `LARGE` and return where it went."""
    sink = Watched(client)
    received = await client.fetcher.stream(client.request(url, **fields), sink)
    assert sink.path is not None
    assert received.size == sink.size == SIZE
    assert Path(sink.path).read_bytes() == LARGE
    return sink, received


async def verified(client: Client, url: str) -> None:
    """Fetch a body as a file that is hashed on its way."""
    expected = {"sha256": SHA256, "md5": hashlib.md5(LARGE).hexdigest()}
    fetched = await client.fetcher.download(client.request(url, expected=expected, size=SIZE))
    assert fetched.path is not None
    assert fetched.digests == expected
    assert Path(fetched.path).read_bytes() == LARGE


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_large_body_does_not_come_by_the_client(client: Client, upstream: Upstream) -> None:
    sink, _ = await fetch(client, upstream.put("/a", LARGE))

    assert sink.written <= READ_AHEAD


async def test_connection_is_used_again_after_a_large_body(
    client: Client, upstream: Upstream
) -> None:
    small, large = upstream.put("/small", b"body"), upstream.put("/large", LARGE)

    for _ in range(3):
        await fetch(client, large)
        assert await client.get(small) == b"body"

    assert upstream.connections == 1


@pytest.mark.parametrize("behaviour", [Chunked(100_000), Unmeasured()])
async def test_body_of_unknown_length_comes_by_the_client(
    client: Client, upstream: Upstream, behaviour: Behaviour
) -> None:
    upstream.script("/a", behaviour)

    sink, _ = await fetch(client, upstream.put("/a", LARGE))

    assert sink.written == SIZE


async def test_compressed_body_comes_by_the_client(client: Client, upstream: Upstream) -> None:
    upstream.script("/a", Gzip())

    sink, _ = await fetch(client, upstream.put("/a", LARGE), compressed=True)

    assert sink.written == SIZE


async def test_limited_body_comes_by_the_client(client: Client, upstream: Upstream) -> None:
    client.fields["bandwidth_limit"] = 1 << 40

    sink, _ = await fetch(client, upstream.put("/a", LARGE))

    assert sink.written == SIZE


async def test_encrypted_body_comes_by_the_client(
    client: Client, certificates: Certificates
) -> None:
    client.fields["ca_cert"] = certificates.ca_pem
    with Upstream(certificates.server()) as secure:
        sink, _ = await fetch(client, secure.put("/a", LARGE))

    assert sink.written == SIZE


@pytest.mark.parametrize(
    "behaviour", [Cut(5 * MIB), Reset(5 * MIB), Hang(5 * MIB), Lie(by=7), Corrupt(5 * MIB)]
)
async def test_large_body_that_breaks_comes_out_right(
    client: Client, upstream: Upstream, behaviour: Behaviour
) -> None:
    client.fields["stall_timeout"] = 0.2
    upstream.script("/a", behaviour)

    await verified(client, upstream.put("/a", LARGE))

    assert upstream.count("/a") == 2


async def test_no_byte_of_a_large_body_is_fetched_twice(client: Client, upstream: Upstream) -> None:
    upstream.script("/a", Cut(3 * MIB), Cut(2 * MIB), Hang(MIB))
    client.fields["stall_timeout"] = 0.2

    await verified(client, upstream.put("/a", LARGE))

    asked = [seen.headers.get("range") for seen in upstream.seen]
    assert asked == [None, *(f"bytes={at * MIB}-" for at in (3, 5, 6))]
    assert upstream.sent("/a") == SIZE


async def test_parts_that_come_by_the_client_fit_in(client: Client, upstream: Upstream) -> None:
    upstream.script("/a", Cut(3 * MIB), Cut(3 * MIB + 500_000), Chunked(100_000, cut=True))

    await verified(client, upstream.put("/a", LARGE))

    assert upstream.sent("/a") == SIZE


async def test_total_time_out_keeps_what_has_come(client: Client, upstream: Upstream) -> None:
    client.fields |= {"stall_timeout": None, "total_timeout": 1.0}
    upstream.script("/a", Hang(5 * MIB))

    await verified(client, upstream.put("/a", LARGE))

    assert upstream.seen[1].headers["range"] == f"bytes={5 * MIB}-"


async def test_large_body_that_comes_slowly_is_no_stall(client: Client, upstream: Upstream) -> None:
    """Each piece is less than what is worth a wake-up, all of them take longer than the
    patience.
    """
    client.fields |= {"stall_timeout": 0.5, "max_retries": 0}
    upstream.script("/a", Drip(10_000))

    await verified(client, upstream.put("/a", LARGE))

    assert upstream.count("/a") == 1


async def test_default_time_out_of_the_process_changes_nothing(
    client: Client, upstream: Upstream
) -> None:
    socket.setdefaulttimeout(0.01)
    try:
        upstream.script("/a", Drip(100_000))
        await verified(client, upstream.put("/a", LARGE))
    finally:
        socket.setdefaulttimeout(None)

    assert upstream.count("/a") == 1


async def test_large_body_that_stalls_is_given_up(client: Client, upstream: Upstream) -> None:
    client.fields |= {"stall_timeout": 0.2, "max_retries": 0}
    upstream.script("/a", Hang(5 * MIB))

    with pytest.raises(TransferTimeoutError, match=r"nothing arrived within 0\.2 s"):
        await verified(client, upstream.put("/a", LARGE))

    assert client.leftovers() == []


async def test_large_bodies_that_break_leave_no_descriptor(
    client: Client, upstream: Upstream
) -> None:
    client.fields["max_retries"] = 0
    upstream.always("/a", Cut(5 * MIB))
    url = upstream.put("/a", LARGE)
    before = descriptors()

    for _ in range(10):
        with pytest.raises(BrokenBodyError):
            await verified(client, url)

    # The upstream's end of a connection, and its place in the loop, may last a moment longer.
    assert descriptors() < before + 10


@pytest.mark.parametrize(("behaviour", "where"), [(Cut(5 * MIB), 5 * MIB), (Lie(by=7), SIZE)])
async def test_large_body_that_breaks_off_says_where(
    client: Client, upstream: Upstream, behaviour: Behaviour, where: int
) -> None:
    client.fields["max_retries"] = 0
    upstream.script("/a", behaviour)
    url = upstream.put("/a", LARGE)

    with pytest.raises(BrokenBodyError, match=f"broke off after {where} bytes"):
        await client.fetcher.download(client.request(url))

    assert client.leftovers() == []


async def test_bytes_behind_a_large_body_are_no_answer_to_the_next_request(
    client: Client, upstream: Upstream
) -> None:
    upstream.script("/a", Lie(by=-MIB))
    url = upstream.put("/a", LARGE + bytes(MIB))

    await fetch(client, url)
    small = await client.get(upstream.put("/small", b"body"))

    assert small == b"body"
    assert upstream.connections == 2


async def test_large_body_that_is_always_wrong_leaves_nothing(
    client: Client, upstream: Upstream
) -> None:
    client.fields["max_retries"] = 1
    upstream.always("/a", Corrupt(7 * MIB))

    with pytest.raises(DigestMismatchError):
        await verified(client, upstream.put("/a", LARGE))

    assert client.leftovers() == []


async def test_cancelled_large_body_leaves_nothing(client: Client, upstream: Upstream) -> None:
    upstream.script("/a", Hang(5 * MIB))
    fetching = asyncio.create_task(verified(client, upstream.put("/a", LARGE)))
    await asyncio.to_thread(upstream.wait_for, 1)
    while not any(path.stat().st_size >= 5 * MIB for path in client.leftovers()):  # noqa: ASYNC110 -- a file tells nobody that it grows
        await asyncio.sleep(0.001)

    fetching.cancel()
    await asyncio.wait([fetching])

    assert fetching.cancelled()
    assert client.leftovers() == []


async def test_large_body_that_the_disk_cannot_take_is_an_error(
    client: Client, upstream: Upstream
) -> None:
    """A limit on the size of files stands in for a disk that fills up midway."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * MIB + 10, limits[1]))

    try:
        with pytest.raises(StoreError, match=f"cannot write {client.scratch}/\\w+: File too large"):
            await verified(client, upstream.put("/a", LARGE))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert upstream.count("/a") == 1
    assert client.leftovers() == []
