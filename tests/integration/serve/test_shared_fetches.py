"""Bytes that a sync and clients of the server want at once: upstream is asked for them once."""

import asyncio
import resource
from pathlib import Path

import pytest

from flowsync import Engine
from flowsync.serve.app import ContentServer
from tests.integration.serve.conftest import ON_DEMAND, Client, asked, settled
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.behaviours import Corrupt, Hold, Status
from tests.upstream.server import Upstream

SMALL = b"small"
LARGE = bytes(range(256)) * 4096
"""1 MiB."""
HUGE = LARGE * 12
"""Large enough to outlive its run as a partial."""


@pytest.mark.parametrize("policy", ["on_demand", "streamed"])
@pytest.mark.parametrize("body", [SMALL, LARGE, HUGE], ids=["small", "large", "huge"])
async def test_clients_get_what_a_sync_is_fetching(
    body: bytes,
    policy: str,
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    url = publish({"a": body})
    await file_sync(url, remote={"policy": policy}).acreate()
    upstream.script("/a", Hold())

    async with asyncio.TaskGroup() as group:
        syncing = group.create_task(file_sync(url, name="copy").acreate())
        await asyncio.to_thread(upstream.wait_for, 1, "/a")
        asking = [group.create_task(client.get("/files/a")) for _ in range(5)]
        await asked(server)
        upstream.release()

    await settled(server)
    assert all(reply.result().body == body for reply in asking)
    assert syncing.result() is not None
    assert upstream.count("/a") == 1
    assert await paths(engine, "copy") == {"a": True}


async def test_a_sync_and_a_thousand_clients_ask_upstream_once(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    url = publish({"a": LARGE, "b": b"other"})
    await file_sync(url, remote=ON_DEMAND).acreate()
    upstream.script("/a", Hold())
    # Each takes three descriptors here: those of the client, of the server, and of the file.
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = min(1000, (descriptors - 200) // 4)

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(client.get("/files/a")) for _ in range(clients // 2)]
        await asyncio.to_thread(upstream.wait_for, 1, "/a")
        syncing = group.create_task(file_sync(url, name="copy").acreate())
        await asyncio.to_thread(upstream.wait_for, 1, "/b")
        asking += [group.create_task(client.get("/files/a")) for _ in range(clients // 2)]
        upstream.release()

    await settled(server)
    assert all(reply.result().body == LARGE for reply in asking)
    assert syncing.result() is not None
    assert upstream.count("/a") == 1
    assert await paths(engine, "copy") == {"a": True, "b": True}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("body", [SMALL, LARGE, HUGE], ids=["small", "large", "huge"])
async def test_a_sync_gets_what_clients_are_waiting_for(
    body: bytes,
    workers: int,
    conninfo: str,
    tmp_path: Path,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
) -> None:
    async with (
        Engine(tmp_path / "home", database_url=conninfo, workers=workers) as engine,
        ContentServer(engine) as server,
    ):
        client = Client(server.addresses[0][1])
        url = publish({"a": body, "b": b"other"})
        await file_sync(url, remote=ON_DEMAND, engine=engine).acreate()
        upstream.script("/a", Hold())

        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(client.get("/files/a")) for _ in range(5)]
            await asyncio.to_thread(upstream.wait_for, 1, "/a")
            copy = file_sync(url, name="copy", engine=engine)
            syncing = group.create_task(copy.acreate())
            await asyncio.to_thread(upstream.wait_for, 1, "/b")
            upstream.release()

        await settled(server)
        assert all(reply.result().body == body for reply in asking)
        assert syncing.result() is not None
        assert upstream.count("/a") == 1
        assert await paths(engine, "copy") == {"a": True, "b": True}


@pytest.mark.parametrize("behaviour", [Corrupt(), Status(404)])
async def test_who_follows_a_sync_that_fails_goes_to_upstream(
    behaviour: Corrupt | Status,
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    url = publish({"a": LARGE, "b": b"other"})
    await file_sync(url, remote=ON_DEMAND).acreate()
    upstream.script("/b", Hold())
    upstream.script("/a", Hold(), behaviour)

    syncing = asyncio.create_task(file_sync(url, name="copy").acreate())
    await asyncio.to_thread(upstream.wait_for, 1, "/a")
    asking = asyncio.create_task(client.get("/files/a"))
    await asked(server)
    syncing.cancel()
    await asyncio.wait([syncing])
    failed = await asking
    again = await client.get("/files/a")

    assert failed.status == 502 or not failed.complete
    assert again.status in {200, 502}
    assert again.body == LARGE or again.status == 502


async def test_a_sync_goes_on_when_the_server_ends_that_it_follows(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish({"a": LARGE, "b": b"other"})
    await file_sync(url, remote=ON_DEMAND).acreate()
    upstream.script("/a", Hold())
    async with ContentServer(engine) as server:
        client = Client(server.addresses[0][1])
        asking = asyncio.create_task(client.get("/files/a"))
        await asyncio.to_thread(upstream.wait_for, 1, "/a")
        syncing = asyncio.create_task(file_sync(url, name="copy").acreate())
        await asyncio.to_thread(upstream.wait_for, 1, "/b")
        asking.cancel()

    await syncing

    assert await paths(engine, "copy") == {"a": True, "b": True}
