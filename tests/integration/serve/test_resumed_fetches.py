"""Large bodies that one task of an engine did not bring to their end: the next one goes on from the
bytes that are there, whether it is a sync or a server.
"""

import asyncio
import os
from pathlib import Path

import pytest

from flowsync import Engine
from flowsync.errors import TransferError
from flowsync.serve.app import ContentServer
from tests.integration.serve.conftest import Client
from tests.integration.serve.test_missing import settled
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.integration.sync.test_resume import partials
from tests.upstream.behaviours import Corrupt, Cut, Hang, IgnoreRange, Status, WrongRange
from tests.upstream.server import Upstream

MIB = 1 << 20
LARGE = os.urandom(MIB) * 9
CUT = 5 * MIB
ON_DEMAND = {"policy": "on_demand"}


async def interrupt_a_sync(upstream: Upstream, url: str, file_sync: Sync) -> None:
    """Record the file as "files", and leave the beginning of its body."""
    await file_sync(url, remote=ON_DEMAND).acreate()
    upstream.script("/a", Cut(CUT))
    with pytest.raises(TransferError):
        await file_sync(url, name="copy").acreate()


async def test_a_served_miss_goes_on_from_what_an_interrupted_sync_has_left(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
    tmp_path: Path,
) -> None:
    await interrupt_a_sync(upstream, publish({"a": LARGE}), file_sync)

    reply = await client.get("/files/a")
    await settled(server)

    asked = upstream.requests("/a")[1].headers
    assert (reply.status, reply.complete, reply.body == LARGE) == (200, True, True)
    assert asked["range"] == f"bytes={CUT}-"
    assert asked["if-range"].startswith('"')
    assert upstream.sent("/a") == len(LARGE)
    assert await paths(engine) == {"a": True}
    assert partials(tmp_path) == []


async def test_a_sync_goes_on_from_what_an_interrupted_server_has_left(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync, tmp_path: Path
) -> None:
    url = publish({"a": LARGE})
    await file_sync(url, remote=ON_DEMAND).acreate()
    upstream.script("/a", Hang(after=CUT))
    async with ContentServer(engine) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.addresses[0][1])
        writer.write(b"GET /files/a HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        received = await reader.readexactly(CUT)
        writer.close()

    await file_sync(url, name="copy").acreate()

    asked = upstream.requests("/a")[1].headers
    assert received == LARGE[:CUT]
    assert asked["range"] == f"bytes={CUT}-"
    assert "if-range" in asked
    assert await paths(engine, "copy") == {"a": True}
    assert partials(tmp_path) == []


async def test_a_sync_that_follows_a_server_goes_on_where_it_ends(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish({"a": LARGE, "b": b"other"})
    await file_sync(url, remote=ON_DEMAND).acreate()
    upstream.script("/a", Hang(after=CUT))
    async with ContentServer(engine) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.addresses[0][1])
        writer.write(b"GET /files/a HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(CUT)
        syncing = asyncio.create_task(file_sync(url, name="copy").acreate())
        await asyncio.to_thread(upstream.wait_for, 1, "/b")
        writer.close()

    await syncing

    assert [seen.headers.get("range") for seen in upstream.requests("/a")] == [
        None,
        f"bytes={CUT}-",
    ]
    assert await paths(engine, "copy") == {"a": True, "b": True}


async def test_a_server_goes_on_from_what_it_has_left_itself(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    await file_sync(publish({"a": LARGE}), remote=ON_DEMAND).acreate()
    upstream.script("/a", Cut(2 * MIB), Cut(MIB))

    broken = [await client.get("/files/a") for _ in range(2)]
    await settled(server)
    reply = await client.get("/files/a")

    asked = [seen.headers.get("range") for seen in upstream.requests("/a")]
    assert [each.complete for each in broken] == [False, False]
    assert asked == [None, *(f"bytes={at * MIB}-" for at in (2, 3))]
    assert reply.body == LARGE


async def test_upstream_that_does_not_go_on_is_said_at_once(
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
    tmp_path: Path,
) -> None:
    """No client gets the beginning of a body whose rest does not come; and the beginning stays."""
    await interrupt_a_sync(upstream, publish({"a": LARGE}), file_sync)
    upstream.script("/a", Status(404))

    refused = await client.get("/files/a")
    reply = await client.get("/files/a")
    await settled(server)

    assert (refused.status, refused.complete) == (502, True)
    assert upstream.requests("/a")[2].headers["range"] == f"bytes={CUT}-"
    assert reply.body == LARGE
    assert partials(tmp_path) == []


@pytest.mark.parametrize("behaviour", [IgnoreRange(), WrongRange(), Corrupt(MIB)])
async def test_a_rest_that_does_not_fit_begins_the_body_again(
    behaviour: IgnoreRange | WrongRange | Corrupt,
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    await interrupt_a_sync(upstream, publish({"a": LARGE}), file_sync)
    upstream.script("/a", behaviour)

    first = await client.get("/files/a")
    await settled(server)
    again = await client.get("/files/a")

    assert not first.complete or first.body == LARGE
    assert (again.status, again.body == LARGE) == (200, True)
    assert upstream.count("/a") <= 3
    assert await paths(engine) == {"a": True}


async def test_damaged_bytes_on_disk_are_no_fault_of_the_source(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
    tmp_path: Path,
) -> None:
    await interrupt_a_sync(upstream, publish({"a": LARGE}), file_sync)
    kept, _ = partials(tmp_path)
    with open(kept, "r+b") as file:
        file.seek(MIB)
        file.write(bytes([LARGE[0] ^ 0xFF]))

    first = await client.get("/files/a")
    await settled(server)
    again = await client.get("/files/a")

    assert not first.complete
    assert (again.status, again.body == LARGE) == (200, True)
    assert [seen.headers.get("range") for seen in upstream.requests("/a")] == [
        None,
        f"bytes={CUT}-",
        None,
    ]
    assert await paths(engine) == {"a": True}


@pytest.mark.parametrize("right", [True, False])
async def test_a_body_that_is_whole_needs_no_request_if_it_is_right(
    right: bool,
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
    tmp_path: Path,
) -> None:
    """As after a kill between the last byte and the record of it."""
    await interrupt_a_sync(upstream, publish({"a": LARGE}), file_sync)
    kept, _ = partials(tmp_path)
    kept.write_bytes(LARGE if right else bytes(len(LARGE)))

    reply = await client.get("/files/a")
    await settled(server)

    assert (reply.status, reply.complete, reply.body == LARGE) == (200, True, True)
    assert upstream.count("/a") == (1 if right else 2)
    assert await paths(engine) == {"a": True}
    assert partials(tmp_path) == []


async def test_what_is_streamed_leaves_nothing_to_go_on_from(
    upstream: Upstream, publish: Publish, file_sync: Sync, client: Client, tmp_path: Path
) -> None:
    await file_sync(publish({"a": LARGE}), remote={"policy": "streamed"}).acreate()
    upstream.script("/a", Cut(CUT))

    broken = await client.get("/files/a")
    reply = await client.get("/files/a")

    assert not broken.complete
    assert "range" not in upstream.requests("/a")[1].headers
    assert reply.body == LARGE
    assert partials(tmp_path) == []
