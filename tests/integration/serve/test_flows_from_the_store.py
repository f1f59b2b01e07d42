"""A server whose blobs are no files of this machine: answers come from the store as they
are read.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import blake3
import pytest

from flowsync import Engine
from flowsync.errors import StoreError
from flowsync.serve.app import ContentServer
from flowsync.store import BlobReader
from flowsync.testing.bodies import read
from flowsync.testing.memory_store import MemoryBlobStore
from tests.integration.serve.conftest import Client, settled
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.server import Upstream

LARGE = bytes(range(256)) * (3 << 12)
"""3 MiB: three chunks."""

SMALL = b"a small one"
ON_DEMAND = {"policy": "on_demand"}


class BreakingStore(MemoryBlobStore):
    """A memory store that fails in the midst of what it reads, as a network would, as often as it
    is told: `breaks` times.
    """

    breaks = 0
    open_readers = 0

    @asynccontextmanager
    async def reading(
        self, blake3: str, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[BlobReader]:
        async with super().reading(blake3, start, stop) as reader:
            self.open_readers += 1
            try:
                if self.breaks:
                    self.breaks -= 1
                    yield BlobReader(reader.size, _broken(reader.chunks))
                else:
                    yield reader
            finally:
                self.open_readers -= 1


async def _broken(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    first = await anext(chunks)
    yield first[: len(first) // 2]
    raise StoreError("the bucket does not answer")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[BreakingStore]:
    async with BreakingStore(tmp_path / "staging") as store:
        yield store
        assert store.open_readers == 0


@pytest.fixture
async def engine(conninfo: str, tmp_path: Path, store: BreakingStore) -> AsyncIterator[Engine]:
    async with Engine(tmp_path / "home", database_url=conninfo, store=store) as engine:
        yield engine


def name_of(body: bytes) -> str:
    return blake3.blake3(body).hexdigest()


@pytest.mark.parametrize("body", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
async def test_file_is_sent_whole_in_parts_and_not_at_all(
    body: bytes, upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": body})).acreate()

    whole = await client.get("/files/a")
    head = await client.get("/files/a", method="HEAD")
    known = await client.get("/files/a", {"If-None-Match": whole.headers["etag"]})

    assert (whole.status, whole.complete, whole.body == body) == (200, True, True)
    assert whole.headers["content-length"] == head.headers["content-length"] == str(len(body))
    assert (head.status, head.body, known.status) == (200, b"", 304)
    assert upstream.count("/a") == 1


@pytest.mark.parametrize(
    ("first", "last"), [(0, 0), (1, 70_000), (1 << 20, (2 << 20) + 1), (len(LARGE) - 5, len(LARGE))]
)
async def test_range_is_those_bytes_and_no_others(
    first: int, last: int, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": LARGE})).acreate()

    reply = await client.get("/files/a", {"Range": f"bytes={first}-{last}"})

    assert (reply.status, reply.complete) == (206, True)
    assert reply.body == LARGE[first : last + 1]


async def test_many_clients_read_one_large_file(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": LARGE})).acreate()

    replies = await asyncio.gather(*(client.get("/files/a") for _ in range(20)))

    assert all(reply.complete and reply.body == LARGE for reply in replies)


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
async def test_miss_is_fetched_stored_and_then_sent_from_the_store(
    body: bytes,
    engine: Engine,
    store: BreakingStore,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    await file_sync(publish({"a": body}), remote=ON_DEMAND).acreate()

    first = await client.get("/files/a")
    await settled(server)
    again = await client.get("/files/a")

    assert [reply.body == body for reply in (first, again)] == [True, True]
    assert upstream.count("/a") == 1
    assert await paths(engine) == {"a": True}
    assert await read(store, name_of(body)) == body


async def test_miss_whose_bytes_are_stored_under_another_path_asks_no_upstream(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    await file_sync(publish({"later": LARGE}), remote=ON_DEMAND, name="lazy").acreate()
    await file_sync(publish({"now": LARGE})).acreate()

    reply = await client.get("/lazy/later")
    await settled(server)

    assert (reply.status, reply.body == LARGE) == (200, True)
    assert upstream.count("/later") == 0
    assert await paths(engine, "lazy") == {"later": True}


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("harm", ["lost", "short"])
async def test_what_the_store_lost_is_fetched_again(
    harm: str,
    body: bytes,
    store: BreakingStore,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    await file_sync(publish({"a": body})).acreate()
    if harm == "lost":
        store.lose(name_of(body))
    else:
        store.damage(name_of(body), body[:-1])

    reply = await client.get("/files/a")
    await settled(server)

    assert (reply.status, reply.complete, reply.body == body) == (200, True, True)
    assert upstream.count("/a") == 2
    assert await read(store, name_of(body)) == body


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
async def test_store_that_fails_in_the_midst_is_continued_from_upstream(
    body: bytes,
    store: BreakingStore,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    await file_sync(publish({"a": body})).acreate()
    store.breaks = 1

    reply = await client.get("/files/a")
    await settled(server)

    assert (reply.status, reply.complete, reply.body == body) == (200, True, True)
    assert upstream.count("/a") == 2


async def test_client_that_leaves_closes_its_reader(
    store: BreakingStore, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": LARGE * 16})).acreate()

    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET /files/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readexactly(100)
    during = store.open_readers
    writer.transport.abort()

    # No event of the product's tells that a connection was given up.
    async with asyncio.timeout(20):
        while store.open_readers:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert during == 1
