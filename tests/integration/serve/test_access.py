"""Who may read what, where a server asks."""

import asyncio
import json
import shutil
from base64 import b64encode
from collections.abc import AsyncIterator

import pytest

from flowsync import Engine
from flowsync.serve.access import AccessRequest, Denied
from flowsync.serve.app import ContentServer
from flowsync.sources.file import SOURCE
from tests.integration.serve.conftest import Client
from tests.integration.sync.conftest import Publish, Sync
from tests.integration.sync.conftest import engine as engine
from tests.kinds.shelf import SHELF, put_books, sync_shelves
from tests.upstream.server import Upstream

READERS = {"shelf": "Bearer one", "files": f"Basic {b64encode(b'user:word').decode()}"}


def admit(request: AccessRequest) -> Denied | None:
    if request.repository == "-":
        return None
    if request.authorization not in READERS.values():
        return Denied(status=401, reason="say who you are")
    if request.repository and READERS.get(request.repository) != request.authorization:
        return Denied(status=403, reason="that is not yours")
    return None


@pytest.fixture
async def server(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> AsyncIterator[ContentServer]:
    await file_sync(publish({"a": b"1"})).acreate()
    await sync_shelves(engine, put_books(upstream, {"poems/odes": b"one"}))
    async with ContentServer(engine, kinds=[SOURCE, SHELF], admit=admit) as server:
        yield server


TARGETS = [
    "/",
    "/shelf/",
    "/shelf/books/poems/odes",
    "/shelf@1/CATALOG",
    "/shelf/shelves/poems/",
    "/nothing/x",
    "/v2/",
    "/v2/shelf/poems/odes",
]


@pytest.mark.parametrize("target", TARGETS)
async def test_a_client_that_is_not_known_learns_nothing(client: Client, target: str) -> None:
    for method in ("GET", "HEAD"):
        reply = await client.get(target, method=method)

        assert reply.status == 401
        assert reply.headers["www-authenticate"] == 'Basic realm="flowsync", charset="UTF-8"'
        assert reply.headers["cache-control"] == "no-store"


async def test_a_known_client_reads_what_is_its_own(client: Client) -> None:
    shelf, files = ({"Authorization": READERS[name]} for name in ("shelf", "files"))

    own = await client.get("/shelf/books/poems/odes", shelf)
    page = await client.get("/shelf/shelves/poems/", shelf)
    mounted = await client.get("/v2/shelf/poems/odes", shelf)
    foreign = await client.get("/files/a", shelf)
    absent = await client.get("/nothing/a", shelf)

    assert (own.body, mounted.body, page.status) == (b"one", b"one", 200)
    assert foreign.status == absent.status == 403
    assert foreign.body == absent.body
    assert (await client.get("/files/a", files)).body == b"1"


async def test_what_is_for_some_is_kept_by_no_shared_cache(client: Client) -> None:
    own = {"Authorization": READERS["shelf"]}

    for target in ("/shelf/books/poems/odes", "/shelf/", "/shelf/CATALOG", "/v2/shelf/poems/odes"):
        reply = await client.get(target, own)
        assert (reply.status, reply.headers["cache-control"]) == (200, "private, no-cache")


async def test_a_refusal_below_a_mount_is_in_the_words_of_its_protocol(client: Client) -> None:
    reply = await client.get("/v2/shelf/poems/odes")

    assert json.loads(reply.body)["errors"] == [{"code": 401, "message": "say who you are"}]


async def test_the_servers_own_pages_are_asked_for_too(client: Client) -> None:
    assert (await client.get("/-/health")).status == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_shows_who_it_is(client: Client) -> None:
    url = f"http://user:word@127.0.0.1:{client.port}/files/a"
    curl = await asyncio.create_subprocess_exec("curl", "-sSf", url, stdout=asyncio.subprocess.PIPE)
    body, _ = await curl.communicate()

    assert (curl.returncode, body) == (0, b"1")
