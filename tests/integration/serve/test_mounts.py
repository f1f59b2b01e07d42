"""Grammars of addresses that kinds have for themselves, and what they say of stored files."""

import asyncio
import json
import logging
import shutil
from collections.abc import AsyncIterator

import msgspec
import pytest

from flowsync import DeclarationError, Document, Engine, Mount
from flowsync.serve.app import ContentServer
from flowsync.sources.file import SOURCE
from tests.integration.serve.conftest import Client
from tests.integration.sync.conftest import Publish, Sync
from tests.integration.sync.conftest import engine as engine
from tests.kinds.shelf import SHELF, put_books, sync_shelves
from tests.upstream.server import Upstream

BOOKS = {"poems/odes": b"one", "poems/songs": b"two", "maps/north": b"three"}


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[ContentServer]:
    async with ContentServer(engine, kinds=[SOURCE, SHELF]) as server:
        yield server


@pytest.fixture
async def books(engine: Engine, upstream: Upstream) -> None:
    await sync_shelves(engine, put_books(upstream, BOOKS))


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/v2/shelf/poems/odes", b"one"),
        ("/v2/shelf/poems%2Fodes", b"one"),
        ("/v2/shelf/maps%2fnorth?x=1", b"three"),
        ("/v2/shelf.v1/poems/songs", b"two"),
        ("http://elsewhere/v2/shelf/poems/odes", b"one"),
    ],
)
async def test_an_address_in_a_kinds_own_grammar_leads_to_a_stored_file(
    books: None, client: Client, target: str, body: bytes
) -> None:
    reply = await client.get(target)

    assert (reply.status, reply.body) == (200, body)
    assert reply.headers["x-protocol"] == "2"


async def test_conditions_ranges_and_heads_count_below_a_mount(books: None, client: Client) -> None:
    whole = await client.get("/v2/shelf/maps/north")
    part = await client.get("/v2/shelf/maps/north", {"Range": "bytes=1-2"})
    known = await client.get("/v2/shelf/maps/north", {"If-None-Match": whole.headers["etag"]})
    head = await client.get("/v2/shelf/maps/north", method="HEAD")

    assert (part.status, part.body) == (206, b"hr")
    assert known.status == 304
    assert (head.headers["content-length"], head.body) == ("5", b"")


async def test_an_address_may_lead_to_a_page_and_its_query_counts(
    books: None, client: Client
) -> None:
    reply = await client.get("/v2/shelf/poems?first=1", {"Accept": "application/json"})

    assert json.loads(reply.body)["books"] == ["odes"]
    assert reply.headers["x-protocol"] == "2"


async def test_an_address_may_be_answered_by_the_grammar_itself(
    books: None, client: Client
) -> None:
    reply = await client.get("/v2/")
    head = await client.get("/v2/", method="HEAD")

    assert (reply.status, reply.body) == (200, b"{}")
    assert reply.headers["content-type"] == "application/json"
    assert (head.status, head.headers["content-length"], head.body) == (200, "2", b"")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v2/shelf/poems/nothing", 404),
        ("GET", "/v2/shelf.v9/poems/odes", 404),
        ("GET", "/v2/other/poems/odes", 404),
        ("GET", "/v2/acs%3Ax/poems/odes", 404),
        ("GET", "/v2/shelf/../../odes", 404),
        ("GET", "/v2/shelf/POEMS", 404),
        ("GET", "/v2", 404),
        ("POST", "/v2/shelf/poems/odes", 405),
    ],
)
async def test_what_goes_wrong_is_said_in_the_words_of_the_protocol(
    books: None, client: Client, method: str, target: str, status: int
) -> None:
    reply = await client.get(target, method=method)

    assert reply.status == status
    (error,) = json.loads(reply.body)["errors"]
    assert error["code"] == status
    assert error["message"]
    assert reply.headers["x-protocol"] == "2"
    assert ("allow" in reply.headers) == (status == 405)


async def test_a_range_that_is_none_is_refused_in_the_protocols_words(
    books: None, client: Client
) -> None:
    reply = await client.get("/v2/shelf/maps/north", {"Range": "bytes=9-"})

    assert (reply.status, reply.headers["content-range"]) == (416, "bytes */5")
    assert json.loads(reply.body)["errors"][0]["code"] == 416


async def test_what_cannot_be_an_address_is_a_bad_request(books: None, client: Client) -> None:
    assert (await client.get("/v2/shelf/%zz")).status == 400


async def test_without_a_mount_the_address_is_nobodys(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a": b"1"})).acreate()
    async with ContentServer(engine, kinds=[SOURCE]) as server:
        reply = await Client(server.addresses[0][1]).get("/v2/files/a")

    assert (reply.status, "x-protocol" in reply.headers) == (404, False)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_reads_below_a_mount(books: None, client: Client) -> None:
    url = f"http://127.0.0.1:{client.port}/v2/shelf/poems%2Fsongs"
    curl = await asyncio.create_subprocess_exec("curl", "-sSf", url, stdout=asyncio.subprocess.PIPE)
    body, _ = await curl.communicate()

    assert (curl.returncode, body) == (0, b"two")


async def test_a_stored_file_comes_with_what_its_kind_says_of_it(
    publish: Publish, file_sync: Sync, books: None, client: Client
) -> None:
    """By the fields of its unit, under each of its addresses; files of other kinds as before."""
    await file_sync(publish({"poems.txt": b"1"})).acreate()

    reply = await client.get("/shelf/books/poems/odes")
    head = await client.get("/v2/shelf/maps/north", method="HEAD")
    other = await client.get("/files/poems.txt")

    assert (reply.headers["content-type"], reply.headers["x-shelf"]) == ("text/x-book", "poems")
    assert (head.headers["content-type"], head.headers["x-shelf"]) == ("text/x-book", "maps")
    assert other.headers["content-type"] == "text/plain"
    assert "x-shelf" not in other.headers


async def test_a_file_that_is_fetched_on_demand_comes_with_its_headers(
    engine: Engine, upstream: Upstream, client: Client
) -> None:
    await sync_shelves(engine, put_books(upstream, BOOKS), policy="on_demand")

    reply = await client.get("/v2/shelf/poems/odes")

    assert (reply.body, reply.headers["x-shelf"]) == (b"one", "poems")


async def test_a_kind_that_cannot_describe_a_file_fails_that_file_alone(
    engine: Engine, upstream: Upstream, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await sync_shelves(engine, put_books(upstream, {**BOOKS, "poems/unspeakable": b"x"}))

    with caplog.at_level(logging.ERROR, "flowsync.serve.site"):
        reply = await client.get("/shelf/books/poems/unspeakable")

    assert reply.status == 500
    assert "KeyError: 'title'" in caplog.text
    assert (await client.get("/shelf/books/poems/odes")).status == 200


def test_a_mount_takes_no_name_that_a_repository_may_have() -> None:
    with pytest.raises(DeclarationError, match="nothing can be mounted at 'simple'"):
        Mount(prefix="simple", resolve=lambda asked: None)


@pytest.mark.parametrize("name", ["Content-Length", "ETag", "X y"])
def test_a_mount_cannot_say_what_the_server_says_itself(name: str) -> None:
    with pytest.raises(DeclarationError, match="header"):
        Mount(prefix="v2", resolve=lambda asked: Document(body=b""), headers={name: "1"})


async def test_two_kinds_cannot_share_a_prefix(engine: Engine) -> None:
    (mount,) = SHELF.layout.mounts
    other = msgspec.structs.replace(mount, refuse=None)
    layout = msgspec.structs.replace(SHELF.layout, mounts=(other,))
    server = ContentServer(engine, kinds=[SHELF, msgspec.structs.replace(SHELF, layout=layout)])

    with pytest.raises(DeclarationError, match="two kinds of source are mounted at 'v2'"):
        await server.__aenter__()
