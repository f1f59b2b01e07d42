"""Clients that mean no good or know no better, and a server whose database or disk fails it."""

import asyncio
import logging
import os
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowsync import DeclarativeVersion, Engine, Remote, Repository
from flowsync.serve.app import ContentServer, ServerLimits
from flowsync.sources.file import FileFirstStage
from tests.integration.serve.conftest import Client, read_reply
from tests.integration.sync.conftest import Publish, Sync
from tests.mounts import mounted
from tests.upstream.behaviours import Status
from tests.upstream.server import Upstream

LARGE = bytes(range(256)) * 4096


async def test_a_connection_too_many_is_refused_and_the_others_go_on(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a": b"one"})).acreate()
    async with ContentServer(engine, limits=ServerLimits(connections=3)) as server:
        port = server.addresses[0][1]
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for reader, writer in opened:
            writer.write(b"GET /files/a HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await read_reply(reader)).body == b"one"

        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        refused = await read_reply(reader)
        writer.close()
        opened[0][1].write(b"GET /files/a HTTP/1.1\r\nHost: h\r\n\r\n")
        kept = await read_reply(opened[0][0])
        for _, writer in opened:
            writer.close()

    assert refused.status == 503
    assert kept.body == b"one"
    assert server.metrics.refused_connections == 1


@pytest.mark.parametrize("sent", [b"", b"GET /files/a HT", b"GET /files/a HTTP/1.1\r\nX: "])
async def test_a_client_that_does_not_finish_its_request_is_dropped(
    sent: bytes, engine: Engine
) -> None:
    async with ContentServer(engine, limits=ServerLimits(idle=0.2)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.addresses[0][1])
        writer.write(sent)

        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


async def test_a_client_that_takes_nothing_is_dropped(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a": LARGE * 32})).acreate()
    async with ContentServer(engine, limits=ServerLimits(stall=0.2)) as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.addresses[0][1], limit=1024
        )
        writer.write(b"GET /files/a HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(20):
            while server.metrics.running_requests:  # noqa: ASYNC110 - the client's view of it comes later
                await asyncio.sleep(0.01)
        writer.close()

    assert server.metrics.broken_answers == 1


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /files/" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /files/\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
    ids=["path", "header", "headers", "blank", "noise", "length", "nul"],
)
async def test_absurd_requests_are_refused(request_head: bytes, client: Client) -> None:
    reply = await client.say(request_head)

    assert 400 <= reply.status < 500


async def test_without_a_database_it_is_503_and_recovers_by_itself(
    engine: Engine, conninfo: str, postgres: str, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a": b"one"})).acreate()
    database = str(conninfo_to_dict(conninfo)["dbname"])

    def allow(allowed: bool) -> None:
        with psycopg.connect(make_conninfo(postgres), autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS {allowed}'.encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [database],
            )

    async with ContentServer(engine, limits=ServerLimits(patience=0.5)) as server:
        client = Client(server.addresses[0][1])
        await asyncio.to_thread(allow, allowed=False)
        down = [await client.get(target) for target in ("/files/a", "/-/health", "/files/")]
        await asyncio.to_thread(allow, allowed=True)
        async with asyncio.timeout(30):
            while (again := await client.get("/files/a")).status == 503:
                pass

    assert [reply.status for reply in down] == [503, 503, 503]
    assert all(reply.headers["retry-after"] == "5" for reply in down)
    assert (again.status, again.body) == (200, b"one")


@pytest.mark.parametrize("setting", ["idle_session_timeout", None])
async def test_sessions_that_the_server_ended_are_no_failure(
    setting: str | None,
    engine: Engine,
    conninfo: str,
    postgres: str,
    publish: Publish,
    file_sync: Sync,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By its own setting, or by an administrator."""
    await file_sync(publish({"a": b"one"})).acreate()
    database = str(conninfo_to_dict(conninfo)["dbname"])

    def end_sessions() -> None:
        with psycopg.connect(make_conninfo(postgres), autocommit=True) as connection:
            if setting is not None:
                statement = f'ALTER DATABASE "{database}" SET {setting} = 50'
                connection.execute(statement.encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [database],
            )
            alive = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            while connection.execute(alive, [database]).fetchone() != (0,):
                pass

    targets = ["/files/a", "/files/", "/-/health", "/files@1/a"]
    async with ContentServer(engine) as server:
        client = Client(server.addresses[0][1])
        replies = []
        for target in targets:
            replies += [await client.get(target)]
            await asyncio.to_thread(end_sessions)
            replies += [await client.get(target)]

    assert {reply.status for reply in replies} <= {200, 503}
    assert replies[0].status == 200
    assert [record for record in caplog.records if record.exc_info] == []


async def test_no_secret_of_a_remote_is_in_an_answer_or_a_log(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = {"policy": "on_demand", "username": "someone", "password": "hunter2-secret"}
    await file_sync(publish({"a": b"one"}), remote=secret).acreate()
    url = upstream.url("/PULP_MANIFEST")
    upstream.always("/a", Status(403))

    def find_remote(name: str) -> Remote:
        return Remote(
            name=name, url=url, max_retries=0, username="someone", password="hunter2-secret"
        )

    async with ContentServer(engine, find_remote=find_remote) as server:
        client = Client(server.addresses[0][1])
        refused = await client.get("/files/a")
        pages = [await client.get(target) for target in ("/files/", "/-/metrics", "/-/health")]

    sent = upstream.requests("/a")[-1].headers
    assert "basic" in str(sent).lower()
    assert refused.status == 502
    for text in (caplog.text, *(str(reply) for reply in (refused, *pages))):
        assert "hunter2" not in text
        assert "someone" not in text


@pytest.mark.parametrize("size", [4, 9])
async def test_a_full_disk_keeps_no_client_from_its_bytes(
    size: int, tmp_path: Path, conninfo: str, upstream: Upstream, publish: Publish
) -> None:
    """What cannot be stored is passed on all the same, also what is large enough to be kept when
    it breaks off.
    """
    body = LARGE * size
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs"):
        async with Engine(tmp_path / "disk" / "home", database_url=conninfo) as engine:
            remote = Remote(name="files", url=publish({"a": body}), policy="on_demand")
            stage = FileFirstStage(remote)
            await DeclarativeVersion(stage, Repository(name="files"), engine=engine).acreate()
            async with ContentServer(engine) as server:
                client = Client(server.addresses[0][1])
                replies = [await client.get("/files/a") for _ in range(2)]
            usage = await engine.store.usage()

    assert [(reply.status, reply.body == body) for reply in replies] == [(200, True)] * 2
    assert usage.blobs == 0


async def test_a_home_is_not_left_with_claims_or_spools(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a": LARGE, "b": b"two"}), remote={"policy": "on_demand"}).acreate()
    async with ContentServer(engine) as server:
        client = Client(server.addresses[0][1])
        for path in "ab":
            await client.get(f"/files/{path}")

    assert os.listdir(engine.home / "store" / "claims") == []
