"""How a body ends: a client, or a cache in front, never takes a part of one or a wrong one for a
whole, whatever HTTP it speaks.
"""

import asyncio
import hashlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from flowsync import (
    Artifact,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Remote,
    Repository,
    Stage,
)
from flowsync.serve.app import ContentServer, ServerLimits
from flowsync.sources.file import FileContent
from tests.integration.serve.conftest import Client, read_reply, settled
from tests.integration.sync.conftest import Publish, Sync
from tests.upstream.behaviours import Corrupt, Cut, Hold
from tests.upstream.server import Upstream

LARGE = bytes(range(256)) * 4096
"""1 MiB."""

NGINX = shutil.which("nginx")


class Unmeasured(Stage):
    """Declares files by their digests alone, without sizes."""

    def __init__(self, remote: Remote, upstream: Upstream, files: Mapping[str, bytes]) -> None:
        super().__init__()
        self._remote = remote
        self._upstream = upstream
        self._files = files

    async def run(self) -> None:
        for path, body in self._files.items():
            digest = hashlib.sha256(body).hexdigest()
            declared = DeclarativeArtifact(
                artifact=Artifact(sha256=digest),
                url=self._upstream.put(f"/{path}", body),
                relative_path=path,
                remote=self._remote,
                deferred_download=True,
            )
            content = FileContent(relative_path=path, sha256=digest)
            await self.put(DeclarativeContent(content=content, d_artifacts=[declared]))


async def record(engine: Engine, upstream: Upstream, files: Mapping[str, bytes]) -> None:
    """Sync files of which neither bytes nor sizes are known afterwards."""
    remote = Remote(name="files", url=upstream.url(), policy="on_demand", max_retries=0)
    stage = Unmeasured(remote, upstream, files)
    await DeclarativeVersion(stage, Repository(name="files"), engine=engine).acreate()


def read_raw(port: int, request: bytes) -> tuple[bytes, bool]:
    """Return what came, and whether the connection was ended in order."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        try:
            while piece := connection.recv(1 << 20):
                received += piece
        except ConnectionResetError:
            return received, False
    return received, True


@pytest.mark.parametrize(
    "behaviour", [Corrupt(at=0), Corrupt(at=len(LARGE) - 1), Cut(after=900_000)]
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_no_part_of_a_body_looks_whole(
    version: str, behaviour: Corrupt | Cut, engine: Engine, upstream: Upstream, client: Client
) -> None:
    await record(engine, upstream, {"a": LARGE})
    upstream.always("/a", behaviour)

    request = f"GET /files/a HTTP/{version}\r\nHost: h\r\nConnection: close\r\n\r\n".encode()
    received, ended = await asyncio.to_thread(read_raw, client.port, request)

    head, _, body = received.partition(b"\r\n\r\n")
    if head.split()[1] == b"200":
        assert version == "1.1"
        assert not ended
        assert not body.endswith(b"0\r\n\r\n")
    else:
        assert head.split()[1] == b"502"


@pytest.mark.parametrize("keep", ["", "Connection: keep-alive\r\n"])
async def test_an_old_client_gets_a_body_of_unknown_size_with_its_length(
    keep: str, engine: Engine, upstream: Upstream, client: Client
) -> None:
    await record(engine, upstream, {"a": LARGE, "empty": b""})

    for path, body in (("a", LARGE), ("empty", b"")):
        reply = await client.say(f"GET /files/{path} HTTP/1.0\r\n{keep}\r\n".encode())

        assert (reply.status, reply.complete, reply.body == body) == (200, True, True)
        assert reply.headers["content-length"] == str(len(body))
        assert "transfer-encoding" not in reply.headers


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_head_of_a_body_of_unknown_size_has_none(
    version: str, engine: Engine, upstream: Upstream, client: Client
) -> None:
    """What comes behind it on the connection would be taken for the next answer."""
    await record(engine, upstream, {"a": LARGE})
    head = f"HEAD /files/a HTTP/{version}\r\nHost: h\r\nConnection: close\r\n\r\n"

    received, ended = await asyncio.to_thread(read_raw, client.port, head.encode())

    assert ended
    assert received.partition(b"\r\n\r\n")[2] == b""
    assert upstream.count("/a") == 0


async def test_a_closing_server_ends_no_body_early(engine: Engine, upstream: Upstream) -> None:
    await record(engine, upstream, {"a": LARGE})
    upstream.script("/a", Hold())
    async with ContentServer(engine, limits=ServerLimits(grace=0.1)) as server:
        port = server.addresses[0][1]
        asked = asyncio.create_task(
            asyncio.to_thread(read_raw, port, b"GET /files/a HTTP/1.0\r\n\r\n")
        )
        await asyncio.to_thread(upstream.wait_for, 1, "/a")
    received, _ = await asked

    assert b" 200 " not in received


@pytest.mark.parametrize("announced", [100_000, 2_000_000])
async def test_a_wrong_size_that_was_announced_ends_no_body(
    announced: int,
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    """The first source lies about the size; the second one has the bytes, of which there are more
    or fewer than the client was told.
    """
    publish({"a": LARGE})
    digest = hashlib.sha256(LARGE).hexdigest()
    for name, size in (("first", announced), ("second", len(LARGE))):
        upstream.put(f"/{name}/a", LARGE)
        manifest = upstream.put(f"/{name}/PULP_MANIFEST", f"a,{digest},{size}".encode())
        await file_sync(manifest, remote={"policy": "on_demand", "name": name}).acreate()

    first = await client.get("/files/a")
    await settled(server)
    second = await client.get("/files/a")

    assert not first.complete or first.status == 502
    assert (second.status, second.complete, second.body == LARGE) == (200, True, True)


@asynccontextmanager
async def nginx(folder: Path, port: int) -> AsyncIterator[int]:
    """Run a caching proxy in front of the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = free.getsockname()[1]
    (folder / "logs").mkdir(parents=True)
    configuration = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(f"""
        {user}
        daemon off; pid {folder}/pid; error_log {folder}/logs/error.log; worker_processes 1;
        events {{ worker_connections 64; }}
        http {{
            access_log off;
            client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
            fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            proxy_cache_path {folder}/cache keys_zone=all:1m;
            server {{
                listen 127.0.0.1:{own};
                location /mirror/ {{
                    proxy_pass http://127.0.0.1:{port}/;
                    proxy_cache all; proxy_cache_valid 200 1h; proxy_ignore_headers Cache-Control;
                    add_header X-Cache $upstream_cache_status always;
                }}
            }}
        }}
    """)
    assert NGINX is not None
    process = await asyncio.create_subprocess_exec(
        NGINX, "-p", str(folder), "-e", f"{folder}/logs/error.log", "-c", str(configuration)
    )
    try:
        async with asyncio.timeout(20):
            while True:
                assert process.returncode is None
                with suppress(ConnectionRefusedError):
                    _, writer = await asyncio.open_connection("127.0.0.1", own)
                    writer.close()
                    break
        yield own
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize(
    "behaviour", [Corrupt(at=0), Corrupt(at=len(LARGE) - 1), Cut(after=900_000)]
)
async def test_a_cache_in_front_keeps_only_right_bytes(
    behaviour: Corrupt | Cut, tmp_path: Path, engine: Engine, upstream: Upstream
) -> None:
    """By default nginx asks with HTTP/1.0."""
    await record(engine, upstream, {"a": LARGE})
    upstream.script("/a", behaviour)
    async with ContentServer(engine, limits=ServerLimits(cool_down=0.0)) as server:
        async with nginx(tmp_path / "nginx", server.addresses[0][1]) as port:
            proxied = Client(port)
            first = await proxied.get("/mirror/files/a")
            second = await proxied.get("/mirror/files/a")
            third = await proxied.get("/mirror/files/a")

    assert (first.status, first.complete) != (200, True)
    assert (second.status, second.body == LARGE) == (200, True)
    assert (third.headers["x-cache"], third.body == LARGE) == ("HIT", True)


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
async def test_redirects_stay_below_the_prefix_of_a_proxy(
    tmp_path: Path, engine: Engine, upstream: Upstream
) -> None:
    await record(engine, upstream, {"dir/a": LARGE})
    async with ContentServer(engine) as server:
        async with nginx(tmp_path / "nginx", server.addresses[0][1]) as port:
            proxied = Client(port)
            replies = [await proxied.get(f"/mirror/{path}") for path in ("files", "files/dir")]

    assert [reply.status for reply in replies] == [301, 301]
    assert [reply.headers["location"] for reply in replies] == ["./files/", "./dir/"]


@pytest.mark.parametrize("how", ["reset", "close", "half-close", "leave-body"])
@pytest.mark.parametrize("stored", [True, False])
async def test_a_client_that_leaves_leaves_no_traceback(
    how: str,
    stored: bool,
    engine: Engine,
    upstream: Upstream,
    client: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = LARGE * 32
    await record(engine, upstream, {"a": body})
    if stored:
        assert (await client.get("/files/a")).body == body
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1024)
        writer.write(b"GET /files/a HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readexactly(100_000)
        if how == "reset":
            writer.transport.abort()
        elif how == "half-close":
            writer.write_eof()
            await reader.read()
        elif how == "leave-body":
            writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n1")
        writer.close()

    again = await client.get("/files/a")

    assert again.body == body
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


async def test_answers_come_in_the_order_of_pipelined_requests(
    engine: Engine, upstream: Upstream, client: Client
) -> None:
    await record(engine, upstream, {"a": LARGE, "b": b"two", "c": b""})
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    ask = b"".join(
        b"%b /files/%b HTTP/1.1\r\nHost: h\r\n\r\n" % each
        for each in [
            (b"GET", b"a"),
            (b"HEAD", b"a"),
            (b"GET", b"b"),
            (b"GET", b"c"),
            (b"GET", b"a"),
        ]
    )

    writer.write(ask)
    replies = [await read_reply(reader, head=number == 1) for number in range(5)]
    writer.close()

    assert [reply.body for reply in replies] == [LARGE, b"", b"two", b"", LARGE]
