"""Files of versions over HTTP: which version, which bytes, with which headers."""

import asyncio
import hashlib
import json
import os
import shutil
from datetime import timedelta
from urllib.parse import quote

import pytest

from flowsync import Engine
from flowsync.serve.app import ContentServer
from tests.integration.serve.conftest import Client, read_reply
from tests.integration.sync.conftest import Publish, Sync

LARGE = bytes(range(256)) * 4096
FILES = {"a.txt": b"one", "sub/b.txt": b"two", "with, comma.txt": b"three", "é": b"4", "empty": b""}


async def test_newest_version_and_each_older_one_have_their_own_bytes(
    engine: Engine, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": b"old"})).acreate()
    await file_sync(publish({"a": b"newer"})).acreate()
    first = await engine.catalog.repositories.version("files", 1)
    then = (first.created + timedelta(microseconds=1)).isoformat()

    assert (await client.get("/files/a")).body == b"newer"
    assert (await client.get("/files@2/a")).body == b"newer"
    assert (await client.get("/files@1/a")).body == b"old"
    assert (await client.get(f"/files@{then}/a")).body == b"old"
    assert (await client.get("/files@0/a")).status == 404
    assert (await client.get("/files@2001-01-01T00:00:00Z/a")).status == 404


async def test_a_file_comes_with_its_digest_its_length_and_how_long_it_may_be_kept(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish(FILES)).acreate()

    newest = await client.get("/files/a.txt")
    fixed = await client.get("/files@1/sub/b.txt")

    assert (newest.status, newest.body) == (200, b"one")
    assert newest.headers["etag"] == f'"{hashlib.sha256(b"one").hexdigest()}"'
    assert newest.headers["content-length"] == "3"
    assert newest.headers["content-type"] == "text/plain"
    assert newest.headers["accept-ranges"] == "bytes"
    assert newest.headers["cache-control"] == "public, no-cache"
    assert newest.headers["x-content-type-options"] == "nosniff"
    assert fixed.headers["cache-control"] == "public, no-cache"


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/files/with,%20comma.txt", b"three"),
        ("/files/with%2c%20comma.txt", b"three"),
        ("/files/%C3%A9", b"4"),
        ("/files/empty", b""),
        ("http://elsewhere/files/a.txt", b"one"),
        ("/files/a.txt?x=1", b"one"),
        ("/files/./a.txt", b"one"),
        ("/files/sub/../a.txt", b"one"),
        ("/files/sub/%2E%2e/./sub/b.txt", b"two"),
        ("/files/sub%2Fb.txt", b"two"),
        ("/files/sub%2fb.txt", b"two"),
    ],
)
async def test_paths_are_decoded(
    target: str, body: bytes, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish(FILES)).acreate()

    reply = await client.get(target)

    assert (reply.status, reply.body) == (200, body)


async def test_head_tells_what_get_would(publish: Publish, file_sync: Sync, client: Client) -> None:
    await file_sync(publish({"a": LARGE, "b": b"small"})).acreate()

    for path in ("a", "b", "missing", ""):
        got = await client.get(f"/files/{path}")
        head = await client.get(f"/files/{path}", method="HEAD")
        got.headers.pop("date"), head.headers.pop("date")
        assert (head.status, head.headers, head.body) == (got.status, got.headers, b"")


@pytest.mark.parametrize(
    ("wanted", "status", "part", "said"),
    [
        ("bytes=0-99", 206, slice(0, 100), "bytes 0-99/1048576"),
        ("bytes=65530-131090", 206, slice(65530, 131091), "bytes 65530-131090/1048576"),
        ("bytes=1048570-2000000", 206, slice(1048570, None), "bytes 1048570-1048575/1048576"),
        ("bytes=100000-", 206, slice(100000, None), "bytes 100000-1048575/1048576"),
        ("bytes=-300000", 206, slice(-300000, None), "bytes 748576-1048575/1048576"),
        ("bytes=0-1,5-6", 200, slice(None), None),
    ],
)
async def test_a_range_is_exactly_these_bytes(
    wanted: str,
    status: int,
    part: slice,
    said: str | None,
    publish: Publish,
    file_sync: Sync,
    client: Client,
) -> None:
    await file_sync(publish({"a": LARGE})).acreate()

    for _ in range(2):
        reply = await client.get("/files/a", {"Range": wanted})

        assert (reply.status, reply.complete) == (status, True)
        assert reply.body == LARGE[part]
        assert reply.headers.get("content-range") == said


@pytest.mark.parametrize("wanted", ["bytes=-0", "bytes=1048576-", "bytes=--5", "bytes=9-3"])
async def test_a_range_outside_of_the_file_is_refused_with_its_size(
    wanted: str, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": LARGE})).acreate()

    reply = await client.get("/files/a", {"Range": wanted})

    assert (reply.status, reply.headers["content-range"]) == (416, "bytes */1048576")


async def test_a_client_that_has_the_file_is_told_so(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": b"one"})).acreate()
    first = await client.get("/files/a")
    etag, date = first.headers["etag"], first.headers["last-modified"]

    by_tag = await client.get("/files/a", {"If-None-Match": etag})
    by_date = await client.get("/files/a", {"If-Modified-Since": date})
    other = await client.get("/files/a", {"If-None-Match": '"other"'})
    failed = await client.get("/files/a", {"If-Match": '"other"'})
    ranged = await client.get("/files/a", {"Range": "bytes=1-1", "If-Range": etag})
    changed = await client.get("/files/a", {"Range": "bytes=1-1", "If-Range": '"other"'})

    assert (by_tag.status, by_tag.headers["etag"]) == (304, etag)
    assert "content-length" not in by_tag.headers
    assert by_date.status == 304
    assert (other.status, other.body) == (200, b"one")
    assert failed.status == 412
    assert (ranged.status, ranged.body) == (206, b"n")
    assert (changed.status, changed.body) == (200, b"one")


async def test_a_connection_is_used_again_after_a_file_that_the_kernel_sent(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"large": LARGE * 8, "small": b"one"})).acreate()
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)

    for _ in range(3):
        for path, body in (("large", LARGE * 8), ("small", b"one")):
            writer.write(f"GET /files/{path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            reply = await read_reply(reader)
            assert (reply.status, reply.body == body) == (200, True)
    writer.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_nothing_but_reading_is_allowed(method: str, client: Client) -> None:
    reply = await client.get("/files/a", method=method)

    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/other/a.txt", 404),
        ("/files/nothing", 404),
        ("/files/a.txt/", 404),
        ("/files/a.txt/below", 404),
        ("/files@9/a.txt", 404),
        ("/files/../files/a.txt", 404),
        ("/files/sub/%2e%2e/%2e%2e%2ffiles/a.txt", 404),
        ("/files/%2e%2e/a.txt", 404),
        ("/files%2Fsub/b.txt", 404),
        ("/files//a.txt", 404),
        ("//files/a.txt", 404),
        ("/files/%00", 400),
        ("/files/%ff", 400),
        ("/files/%", 400),
        ("/-/nothing", 404),
    ],
)
async def test_what_is_not_there_is_not_found(
    target: str, status: int, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish(FILES)).acreate()

    assert (await client.get(target)).status == status


async def test_a_truncated_blob_is_not_served(
    engine: Engine, publish: Publish, file_sync: Sync, client: Client
) -> None:
    """What is not whole does not go out."""
    await file_sync(publish({"a": LARGE}), remote={"name": "gone"}).acreate()
    found = await engine.catalog.serving.find("files", None, None, "a")
    assert found is not None
    assert found.blake3 is not None
    blob = str(engine.store.local(found.blake3))
    os.chmod(blob, 0o600)
    os.truncate(blob, 1000)

    reply = await client.get("/files/a")

    assert reply.status != 200 or reply.body == LARGE


async def test_two_servers_serve_one_home(
    engine: Engine, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"a": LARGE})).acreate()

    async with ContentServer(engine) as second:
        other = Client(second.addresses[0][1])
        replies = await asyncio.gather(*(each.get("/files/a") for each in [client, other] * 20))

    assert all(reply.body == LARGE and reply.complete for reply in replies)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_reads_a_file_and_goes_on_with_one_that_broke_off(
    publish: Publish, file_sync: Sync, client: Client, tmp_path
) -> None:
    await file_sync(publish({"a": LARGE})).acreate()
    file = tmp_path / "a"
    file.write_bytes(LARGE[:12345])

    process = await asyncio.create_subprocess_exec(
        "curl", "-sSf", "-C", "-", "-o", str(file), f"http://127.0.0.1:{client.port}/files/a"
    )

    assert await process.wait() == 0
    assert file.read_bytes() == LARGE


@pytest.mark.skipif(shutil.which("wget") is None, reason="wget is not installed")
async def test_wget_mirrors_a_repository_by_its_pages(
    publish: Publish, file_sync: Sync, client: Client, tmp_path
) -> None:
    await file_sync(publish({"a": b"one", "dir/b": LARGE, "dir/c d": b"three"})).acreate()
    url = f"http://127.0.0.1:{client.port}/files/"
    options = ["--mirror", "--no-parent", "--no-host-directories"]

    process = await asyncio.create_subprocess_exec("wget", "-q", *options, url, cwd=tmp_path)

    assert await process.wait() == 0
    files = tmp_path / "files"
    found = {str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()}
    assert found == {"a", "dir/b", "dir/c d", "PULP_MANIFEST", "index.html", "dir/index.html"}
    assert (files / "dir/b").read_bytes() == LARGE


async def test_health_and_metrics(publish: Publish, file_sync: Sync, client: Client) -> None:
    await file_sync(publish({"a": b"one"})).acreate()
    await client.get("/files/a")
    await client.get("/files/b")

    health = await client.get("/-/health")
    metrics = await client.get("/-/metrics")

    assert (health.status, health.body) == (200, b"well\n")
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = metrics.body.decode().splitlines()
    assert 'flowsync_serve_requests_total{method="GET",status="200"} 2' in lines
    assert 'flowsync_serve_requests_total{method="GET",status="404"} 1' in lines
    assert "flowsync_serve_running_requests 1" in lines
    assert json.dumps(lines).count("# TYPE") == 9


async def test_a_path_of_many_bytes_is_found_however_it_is_encoded(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    """Each byte of a path may take three on its way."""
    folder = "/".join(["é" * 120] * 8)
    await file_sync(publish({f"{folder}/ü": b"deep"})).acreate()

    file = await client.get("/files/" + quote(f"{folder}/ü"))
    page = await client.get(f"/files/{quote(folder)}/?after={quote(f'{folder}/a', safe='')}")

    assert (file.status, file.body) == (200, b"deep")
    assert page.status == 200
    assert quote("ü").encode() in page.body


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ('If-None-Match: "x"\r\nIf-None-Match: {tag}', 304),
        ('If-None-Match: {tag}\r\nif-none-match: W/"x"', 304),
        ('If-Match: "x"\r\nIf-Match: {tag}', 200),
        ('If-Match: "x"\r\nIf-Match: "y"', 412),
        ("Range: bytes=0-0\r\nRange: bytes=2-2", 200),
        ("Range: bytes=0-0\r\nIf-Range: {tag}", 206),
        ('Range: bytes=0-0\r\nIf-Range: "x"\r\nIf-Range: {tag}', 200),
        ("Accept-Encoding: gzip\r\nAccept-Encoding: br", 200),
    ],
)
async def test_several_lines_of_a_header_are_one_list(
    lines: str, status: int, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish(FILES)).acreate()
    tag = f'"{hashlib.sha256(b"one").hexdigest()}"'
    head = "GET /files/a.txt HTTP/1.1\r\nHost: h\r\n" + lines.replace("{tag}", tag)

    reply = await client.say(f"{head}\r\nConnection: close\r\n\r\n".encode())

    assert reply.status == status
    assert reply.body in {b"one", b"o", b""} or status == 412


async def test_a_client_may_say_what_it_accepts_in_several_lines(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish(FILES)).acreate()
    accept = b"Accept: text/html;q=0.1\r\nAccept: application/json\r\n"

    reply = await client.say(b"GET /files/ HTTP/1.1\r\n" + accept + b"Host: h\r\n\r\n")

    assert reply.headers["content-type"] == "application/json"


async def test_a_connection_ends_when_any_line_says_so(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish(FILES)).acreate()
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(
        b"GET /files/a.txt HTTP/1.1\r\nHost: h\r\n"
        b"Connection: keep-alive\r\nConnection: close\r\n\r\n"
    )

    assert (await read_reply(reader)).body == b"one"
    assert await reader.read() == b""
    writer.close()
