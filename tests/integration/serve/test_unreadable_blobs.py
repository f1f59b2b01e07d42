"""Blobs that are recorded and cannot be opened or read: fetched again like missing ones. And
folders of a running server that someone removed.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from flowsync import Engine
from flowsync.serve.app import ContentServer
from flowsync.serve.files.sending import UnreadableFileError, send_part
from flowsync.serve.http.answer import OpenPart
from flowsync.serve.http.request import Slice
from tests.integration.serve.conftest import Client, read_reply, settled
from tests.integration.sync.conftest import Publish, Sync
from tests.upstream.server import Upstream

SMALL = b"small"
LARGE = bytes(range(256)) * 4096


def directory(blob: str) -> None:
    os.mkdir(blob)
    Path(blob, "inside").write_bytes(b"x")


def loop(blob: str) -> None:
    os.symlink(blob, blob)


def pipe(blob: str) -> None:
    os.mkfifo(blob)


def connection(blob: str) -> None:
    folder = os.open(os.path.dirname(blob), os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{folder}/{os.path.basename(blob)}")
    os.close(folder)


def memory(blob: str) -> None:
    """Its first page cannot be read: EIO."""
    os.symlink("/proc/self/mem", blob)


def short(blob: str) -> None:
    Path(blob).write_bytes(b"s")


def longer(blob: str) -> None:
    Path(blob).write_bytes(LARGE + b"more")


async def blob_of(engine: Engine, path: str) -> str:
    found = await engine.catalog.serving.find("files", None, None, path)
    assert found is not None
    assert found.blake3 is not None
    return str(engine.store.local(found.blake3))


@pytest.mark.parametrize("instead", [directory, loop, pipe, connection, memory, short, longer])
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
async def test_what_cannot_be_read_is_fetched_again(
    body: bytes,
    instead: Callable[[str], None],
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await file_sync(publish({"a": body})).acreate()
    blob = await blob_of(engine, "a")
    os.unlink(blob)
    instead(blob)

    replies = [await client.get("/files/a")]
    await settled(server)
    replies += [await client.get("/files/a"), await client.get("/files/a", {"Range": "bytes=1-3"})]

    assert [reply.status for reply in replies] == [200, 200, 206]
    assert [reply.body for reply in replies] == [body, body, body[1:4]]
    assert upstream.count("/a") == 2
    said = [record for record in caplog.records if "cannot read blob" in record.getMessage()]
    assert len(said) == 1
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_what_may_not_be_read_is_fetched_again(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": LARGE})).acreate()
    os.chmod(await blob_of(engine, "a"), 0)

    assert (await client.get("/files/a")).body == LARGE
    assert upstream.count("/a") == 2


@pytest.mark.parametrize("instead", [directory, loop, memory])
async def test_without_a_source_it_is_said_that_the_bytes_cannot_be_read(
    instead: Callable[[str], None],
    engine: Engine,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await file_sync(publish({"a": LARGE})).acreate()
    blob = await blob_of(engine, "a")
    os.unlink(blob)
    instead(blob)
    async with engine.catalog.database.connection() as connection:
        await connection.execute("DELETE FROM remote")

    replies = [await client.get("/files/a") for _ in range(3)]

    assert [reply.status for reply in replies] == [503] * 3
    assert b"cannot take or read" in replies[0].body
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_file_that_ends_early_while_it_is_sent_says_from_where(tmp_path: Path) -> None:
    """The sender can go on from there with other bytes."""
    file = tmp_path / "file"
    file.write_bytes(LARGE[:300_000])
    client, server = socket.socketpair()
    server.setblocking(False)

    async def read() -> int:
        count = 0
        while piece := await asyncio.to_thread(client.recv, 1 << 20):
            count += len(piece)
        return count

    reading = asyncio.create_task(read())
    with file.open("rb", buffering=0) as opened:
        with pytest.raises(UnreadableFileError) as caught:
            await send_part(server.fileno(), OpenPart(opened, Slice(0, len(LARGE))), 10.0)
    server.close()

    assert caught.value.offset == 300_000
    assert await reading == 300_000
    client.close()


async def test_an_answer_goes_on_when_its_blob_cannot_be_read_to_its_end(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    body = LARGE * 48
    await file_sync(publish({"a": body})).acreate()
    blob = await blob_of(engine, "a")
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1024)
    writer.write(b"GET /files/a HTTP/1.1\r\nHost: h\r\nRange: bytes=5-\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")

    os.chmod(blob, 0o600)
    os.truncate(blob, 40 * len(LARGE))
    # Until here nothing is read ahead, so that the blob ends while it is sent.
    reader._limit = 1 << 20  # type: ignore[attr-defined]
    received = await reader.readexactly(len(body) - 5)
    writer.write(b"GET /files/a HTTP/1.1\r\nHost: h\r\n\r\n")
    again = await read_reply(reader)
    writer.close()

    assert received == body[5:]
    assert again.body == body
    assert upstream.count("/a") == 2


@pytest.mark.parametrize("removed", ["staging/*", "staging", "claims", "blake3/*"])
async def test_removed_folders_of_a_running_server_are_made_again(
    removed: str,
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    files = {"a": SMALL, "b": LARGE}
    await file_sync(publish(files), remote={"policy": "on_demand"}).acreate()
    manifest = await client.get("/files@1/PULP_MANIFEST")
    store = engine.home / "store"

    for folder in list(store.glob(removed)):
        if folder.is_dir():
            shutil.rmtree(folder)
        else:
            folder.unlink()
    replies = {path: await client.get(f"/files/{path}") for path in files}
    await settled(server)
    again = {path: await client.get(f"/files/{path}") for path in files}
    made = await client.get("/files@1/PULP_MANIFEST")

    assert {path: reply.body for path, reply in replies.items()} == files
    assert {path: reply.body for path, reply in again.items()} == files
    assert upstream.count("/a") == upstream.count("/b") == 1
    assert (made.status, made.body) == (200, manifest.body)
