"""Files that the newest version has lost, and clients of the one before still ask for."""

from collections.abc import AsyncIterator

import pytest

from flowsync import Engine
from flowsync.serve.app import ContentServer, ServerLimits
from flowsync.sources.file import SOURCE
from tests.integration.serve.conftest import Client
from tests.integration.sync.conftest import Publish, Sync
from tests.integration.sync.conftest import engine as engine
from tests.kinds.shelf import SHELF, put_books, sync_shelves
from tests.upstream.server import Upstream


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[ContentServer]:
    async with ContentServer(engine, kinds=[SOURCE, SHELF]) as server:
        yield server


@pytest.fixture
async def versions(engine: Engine, upstream: Upstream) -> None:
    """Three versions of a shelf, each with one book of its own and one that changes."""
    for name in ("first", "second", "third"):
        books = {f"poems/{name}": name.encode(), "poems/same": b"new " + name.encode()}
        await sync_shelves(engine, put_books(upstream, books))


async def age(engine: Engine, number: int) -> None:
    """Let a version be a month older."""
    async with engine.catalog.database.connection() as connection:
        await connection.execute(
            "UPDATE repository_version SET created_at = created_at - interval '30 days' "
            "WHERE number <= %s",
            [number],
        )


async def test_what_versions_had_lately_is_still_there_without_a_number(
    versions: None, client: Client
) -> None:
    bodies = [
        (await client.get(f"/shelf/books/poems/{name}")).body
        for name in ("first", "second", "third", "same")
    ]

    assert bodies == [b"first", b"second", b"third", b"new third"]


async def test_a_version_that_is_named_has_what_it_holds_and_nothing_else(
    engine: Engine, versions: None, client: Client
) -> None:
    newest = await engine.catalog.repositories.version("shelf")
    moment = newest.created.isoformat().replace("+00:00", "Z")

    assert (await client.get("/shelf@3/books/poems/second")).status == 404
    assert (await client.get(f"/shelf@{moment}/books/poems/second")).status == 404
    assert (await client.get("/shelf@2/books/poems/second")).body == b"second"


async def test_the_one_before_counts_always_and_older_ones_for_a_while(
    engine: Engine, versions: None, client: Client
) -> None:
    """The first was replaced a month ago; the second is the one before the newest."""
    await age(engine, 3)

    assert (await client.get("/shelf/books/poems/first")).status == 404
    assert (await client.get("/shelf/books/poems/second")).body == b"second"


async def test_a_version_counts_from_when_it_was_replaced(
    engine: Engine, versions: None, client: Client
) -> None:
    await age(engine, 1)
    assert (await client.get("/shelf/books/poems/first")).body == b"first"

    await age(engine, 2)
    assert (await client.get("/shelf/books/poems/first")).status == 404


async def test_how_long_is_the_servers_to_say(engine: Engine, versions: None) -> None:
    async with ContentServer(engine, kinds=[SHELF], limits=ServerLimits(lasting=0.0)) as server:
        client = Client(server.addresses[0][1])

        assert (await client.get("/shelf/books/poems/first")).status == 404
        assert (await client.get("/shelf/books/poems/second")).body == b"second"


async def test_only_what_its_kind_calls_lasting_stays(
    engine: Engine, publish: Publish, file_sync: Sync, versions: None, client: Client
) -> None:
    """Neither other paths of the kind nor equal paths of another."""
    await file_sync(publish({"books/x": b"1", "y": b"2"})).acreate()
    await file_sync(publish({"y": b"2"}), mirror=True, max_removal=1.0).acreate()

    assert (await client.get("/files@1/books/x")).status == 200
    assert (await client.get("/files/books/x")).status == 404


async def test_a_deleted_version_answers_for_nothing(
    engine: Engine, versions: None, client: Client
) -> None:
    await engine.catalog.repositories.delete_version("shelf", 2)

    assert (await client.get("/shelf/books/poems/second")).status == 404
    assert (await client.get("/shelf/books/poems/first")).body == b"first"


async def test_a_lasting_file_has_the_headers_of_its_kind_and_is_had_under_a_mount(
    versions: None, client: Client
) -> None:
    reply = await client.get("/v2/shelf/poems/second", {"Range": "bytes=0-2"})

    assert (reply.status, reply.body) == (206, b"sec")
    assert reply.headers["x-shelf"] == "poems"
