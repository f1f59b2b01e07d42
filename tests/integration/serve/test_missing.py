"""What was never fetched, or is not here any more: brought from upstream when somebody asks, once,
verified, and stored.
"""

import asyncio
import hashlib
import os
import resource

import pytest

from flowsync import Engine, Remote
from flowsync.errors import SettingsError
from flowsync.serve.app import ContentServer, ServerLimits
from tests.integration.serve.conftest import ON_DEMAND, Client, read_reply, settled
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.behaviours import Corrupt, Cut, Drip, Good, Hang, Hold, Status
from tests.upstream.server import Upstream

LARGE = bytes(range(256)) * 4096
"""1 MiB."""


@pytest.mark.parametrize("body", [b"one", b"", LARGE], ids=["small", "empty", "large"])
async def test_first_request_brings_and_stores_the_file(
    body: bytes,
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    """Streamed and stored by the first request, served locally by the next."""
    await file_sync(publish({"a": body, "b": b"other"}), remote=ON_DEMAND).acreate()
    assert await paths(engine) == {"a": False, "b": False}

    first = await client.get("/files/a")
    await settled(server)
    again = await client.get("/files/a")

    for reply in (first, again):
        assert (reply.status, reply.complete, reply.body == body) == (200, True, True)
        assert reply.headers["content-length"] == str(len(body))
        assert reply.headers["etag"] == f'"{hashlib.sha256(body).hexdigest()}"'
    assert upstream.count("/a") == 1
    assert await paths(engine) == {"a": True, "b": False}


async def test_what_is_streamed_is_never_stored(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    await file_sync(publish({"a": LARGE}), remote={"policy": "streamed"}).acreate()

    for _ in range(2):
        assert (await client.get("/files/a")).body == LARGE
        await settled(server)

    assert upstream.count("/a") == 2
    assert await paths(engine) == {"a": False}
    assert (await engine.store.usage()).blobs == 0


async def test_head_and_conditions_are_answered_without_fetching(
    upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    """The catalog knows all that HEAD asks."""
    await file_sync(publish({"a": LARGE}), remote=ON_DEMAND).acreate()

    head = await client.get("/files/a", method="HEAD")
    known = await client.get("/files/a", {"If-None-Match": head.headers["etag"]})
    outside = await client.get("/files/a", {"Range": "bytes=1048576-"})

    assert (head.status, head.headers["content-length"]) == (200, "1048576")
    assert known.status == 304
    assert outside.status == 416
    assert upstream.count("/a") == 0


async def test_many_clients_on_one_miss_are_one_request_to_upstream(
    upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": LARGE}), remote=ON_DEMAND).acreate()
    upstream.script("/a", Hold())
    # Each takes three descriptors here: those of the client, of the server, and of the file.
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = min(1000, (descriptors - 200) // 4)
    asking = [asyncio.create_task(client.get("/files/a")) for _ in range(clients)]
    await asyncio.to_thread(upstream.wait_for, 1, "/a")

    upstream.release()
    replies = await asyncio.gather(*asking)

    assert all(reply.body == LARGE for reply in replies)
    assert upstream.count("/a") == 1


async def test_two_servers_of_one_home_ask_upstream_once(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": LARGE}), remote=ON_DEMAND).acreate()
    upstream.script("/a", Hold())
    async with ContentServer(engine) as second:
        other = Client(second.addresses[0][1])
        asking = [asyncio.create_task(each.get("/files/a")) for each in (client, other) * 3]
        await asyncio.to_thread(upstream.wait_for, 1, "/a")

        upstream.release()
        replies = await asyncio.gather(*asking)

    assert all(reply.body == LARGE for reply in replies)
    assert upstream.count("/a") == 1


async def test_bytes_go_out_while_they_come(
    upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": LARGE}), remote=ON_DEMAND).acreate()
    upstream.script("/a", Hang(after=500_000))
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET /files/a HTTP/1.1\r\nHost: h\r\n\r\n")

    await reader.readuntil(b"\r\n\r\n")
    received = await reader.readexactly(400_000)

    assert received == LARGE[:400_000]
    writer.close()


async def test_a_client_that_leaves_does_not_stop_the_store(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    await file_sync(publish({"a": LARGE}), remote=ON_DEMAND).acreate()
    upstream.script("/a", Hold())
    _, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET /files/a HTTP/1.1\r\nHost: h\r\n\r\n")
    await asyncio.to_thread(upstream.wait_for, 1, "/a")

    writer.transport.abort()
    upstream.release()
    await settled(server)

    assert await paths(engine) == {"a": True}


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-9", slice(0, 10)),
        ("bytes=70000-200000", slice(70000, 200001)),
        ("bytes=-5", slice(-5, None)),
    ],
)
async def test_a_range_of_a_missing_file_is_exact_and_the_whole_is_stored(
    wanted: str,
    part: slice,
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    """What is read in parts is stored too."""
    await file_sync(publish({"a": LARGE}), remote=ON_DEMAND).acreate()

    for _ in range(2):
        reply = await client.get("/files/a", {"Range": wanted})
        assert (reply.status, reply.body) == (206, LARGE[part])
        await settled(server)

    assert upstream.count("/a") == 1
    assert await paths(engine) == {"a": True}


async def test_a_slice_goes_out_when_it_is_there(
    upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    """All but its last byte: that one waits for the digest of the whole."""
    await file_sync(publish({"a": LARGE}), remote=ON_DEMAND).acreate()
    upstream.script("/a", Hang(after=300_000))
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET /files/a HTTP/1.1\r\nHost: h\r\nRange: bytes=100-199\r\n\r\n")

    await reader.readuntil(b"\r\n\r\n")

    assert await reader.readexactly(99) == LARGE[100:199]
    writer.close()


@pytest.mark.parametrize("at", [0, 1 << 19, len(LARGE) - 1])
async def test_no_client_completes_a_read_of_wrong_bytes(
    at: int,
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    """Broken off, nothing stored, and left alone for a while."""
    await file_sync(publish({"a": LARGE}), remote=ON_DEMAND).acreate()
    upstream.always("/a", Corrupt(at=at))

    first = await client.get("/files/a")
    part = await client.get("/files/a", {"Range": "bytes=0-9"})
    await settled(server)
    again = await client.get("/files/a")

    assert (first.status, first.complete) == (200, False)
    assert not part.complete or part.status == 502
    assert again.status == 502
    assert upstream.count("/a") <= 2
    assert await paths(engine) == {"a": False}
    assert (await engine.store.usage()).blobs == 0


async def test_a_small_wrong_body_is_no_answer_at_all(
    upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": b"one"}), remote=ON_DEMAND).acreate()
    upstream.always("/a", Corrupt())

    reply = await client.get("/files/a")

    assert (reply.status, reply.headers["content-type"]) == (502, "text/plain; charset=utf-8")
    assert b"localhost" not in reply.body


async def test_after_the_cool_down_a_source_is_asked_again(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a": b"one"}), remote=ON_DEMAND).acreate()
    upstream.script("/a", Corrupt())

    async with ContentServer(engine, limits=ServerLimits(cool_down=0.0)) as server:
        client = Client(server.addresses[0][1])
        first = await client.get("/files/a")
        second = await client.get("/files/a")

    assert (first.status, second.status, second.body) == (502, 200, b"one")


async def test_the_next_source_serves_when_the_first_cannot(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    """One has other bytes today, another has lost the file."""
    url = publish({"a": LARGE, "b": b"two"})
    await file_sync(url, remote={**ON_DEMAND, "name": "first"}).acreate()
    for path, body in (("/copy/a", LARGE), ("/copy/b", b"two")):
        upstream.put(path, body)
    manifest = upstream._bodies["/PULP_MANIFEST"].body
    second = upstream.put("/copy/PULP_MANIFEST", manifest)
    await file_sync(second, remote={**ON_DEMAND, "name": "second"}).acreate()
    upstream.always("/a", Corrupt(at=LARGE.index(b"\xff")))
    upstream.always("/b", Status(404))

    first = await client.get("/files/a")
    again = await client.get("/files/a")
    lost = await client.get("/files/b")

    assert not first.complete or first.body == LARGE
    assert (again.status, again.body) == (200, LARGE)
    assert (lost.status, lost.body) == (200, b"two")


async def test_a_source_whose_credentials_cannot_be_had_is_passed_over(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await file_sync(publish({"a": b"one"}), remote={**ON_DEMAND, "name": "first"}).acreate()
    upstream.put("/copy/a", b"one")
    second = upstream.put("/copy/PULP_MANIFEST", upstream._bodies["/PULP_MANIFEST"].body)
    await file_sync(second, remote={**ON_DEMAND, "name": "second"}).acreate()

    def find_remote(name: str) -> Remote | None:
        if name == "first":
            raise SettingsError("the environment variable PASSWORD is not set")
        return None

    async with ContentServer(engine, find_remote=find_remote) as server:
        reply = await Client(server.addresses[0][1]).get("/files/a")

    assert (reply.status, reply.body) == (200, b"one")
    assert (upstream.count("/a"), upstream.count("/copy/a")) == (0, 1)
    assert "source first failed: the environment variable PASSWORD is not set" in caplog.text


async def test_that_no_source_answers_in_time_is_said(
    upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    remote = {**ON_DEMAND, "stall_timeout": 0.3}
    await file_sync(publish({"a": b"one"}), remote={**remote, "name": "first"}).acreate()
    second = upstream.put("/copy/PULP_MANIFEST", upstream._bodies["/PULP_MANIFEST"].body)
    await file_sync(second, remote={**remote, "name": "second"}).acreate()
    upstream.always("/a", Hang())
    upstream.always("/copy/a", Hang())

    assert (await client.get("/files/a")).status == 504
    assert (upstream.count("/a"), upstream.count("/copy/a")) == (1, 1)


async def test_a_body_that_breaks_off_is_continued_within_the_answer(
    upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    remote = {**ON_DEMAND, "max_retries": 3}
    await file_sync(publish({"a": LARGE}), remote=remote).acreate()
    upstream.script("/a", Cut(after=600_000), Good())

    reply = await client.get("/files/a")

    assert (reply.status, reply.complete, reply.body == LARGE) == (200, True, True)


@pytest.mark.parametrize(
    ("behaviour", "status"), [(Status(404), 502), (Status(500), 502), (Hang(), 504)]
)
async def test_upstreams_failure_is_said(
    behaviour: object,
    status: int,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
) -> None:
    remote = {**ON_DEMAND, "stall_timeout": 0.3}
    await file_sync(publish({"a": b"one"}), remote=remote).acreate()
    upstream.always("/a", behaviour)  # type: ignore[arg-type]

    assert (await client.get("/files/a")).status == status


async def test_a_lost_or_truncated_blob_is_brought_back(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    """What is not here heals by the next request."""
    await file_sync(publish({"lost": LARGE, "short": LARGE[1:]})).acreate()
    for path in ("lost", "short"):
        found = await engine.catalog.serving.find("files", None, None, path)
        assert found is not None
        assert found.blake3 is not None
        blob = str(engine.store.local(found.blake3))
        if path == "lost":
            os.unlink(blob)
        else:
            os.chmod(blob, 0o600)
            os.truncate(blob, 1000)

        assert (await client.get(f"/files/{path}")).complete
        await settled(server)
        assert upstream.count(f"/{path}") == 2
        assert (await client.get(f"/files/{path}")).complete
        assert upstream.count(f"/{path}") == 2


async def test_bytes_that_are_here_under_another_path_are_not_fetched(
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    await file_sync(publish({"a": LARGE, "b": LARGE}), remote=ON_DEMAND).acreate()

    assert (await client.get("/files/a")).body == LARGE
    await settled(server)
    assert (await client.get("/files/b")).body == LARGE

    assert upstream.count("/a") + upstream.count("/b") == 1


async def test_a_file_without_any_source_is_not_found(
    engine: Engine, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": b"one"}), remote=ON_DEMAND).acreate()
    async with engine.catalog.database.connection() as connection:
        await connection.execute("DELETE FROM remote")

    assert (await client.get("/files/a")).status == 404


async def test_a_slow_reader_holds_up_nobody(
    upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": LARGE * 16}), remote=ON_DEMAND).acreate()
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1024)
    writer.write(b"GET /files/a HTTP/1.1\r\nHost: h\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")

    other = await client.get("/files/a")
    slow = await reader.readexactly(len(LARGE) * 16)

    assert other.body == slow == LARGE * 16
    assert upstream.count("/a") == 1
    writer.close()


async def test_dripping_upstream_is_passed_on_whole(
    upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": LARGE[:200_000]}), remote=ON_DEMAND).acreate()
    upstream.script("/a", Drip(1000))

    assert (await client.get("/files/a")).body == LARGE[:200_000]


async def test_an_answer_is_followed_by_the_next_on_its_connection(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": LARGE, "b": b"two"}), remote=ON_DEMAND).acreate()
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)

    for path, body in (("a", LARGE), ("b", b"two"), ("a", LARGE)):
        writer.write(f"GET /files/{path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        assert (await read_reply(reader)).body == body
    writer.close()
