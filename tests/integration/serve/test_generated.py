"""What kinds make from versions: files with each other's digests, and pages made when asked for."""

import asyncio
import gzip
import hashlib
import json
import logging
import shutil
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import msgspec
import pytest

from flowsync import (
    DeclarationError,
    Engine,
    GeneratedFiles,
    Layout,
    NewFiles,
    VersionReader,
)
from flowsync.serve.app import ContentServer
from flowsync.sources.file import SOURCE
from tests.integration.serve.conftest import Client
from tests.integration.sync.conftest import Publish, Sync
from tests.integration.sync.conftest import engine as engine
from tests.kinds.shelf import SHELF, Book, put_books, sync_shelves
from tests.upstream.server import Upstream

BOOKS = {"poems/odes": b"one", "poems/songs": b"two", "maps/north": b"three"}
AS_JSON = {"Accept": "application/json"}


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[ContentServer]:
    async with ContentServer(engine, kinds=[SOURCE, SHELF]) as server:
        yield server


@pytest.fixture
async def books(engine: Engine, upstream: Upstream) -> None:
    await sync_shelves(engine, put_books(upstream, BOOKS))


async def many_books(engine: Engine, upstream: Upstream) -> None:
    names = [f"novels/{number:03}" for number in range(100)]
    await sync_shelves(engine, put_books(upstream, {name: name.encode() for name in names}))


async def test_one_file_holds_the_digests_of_the_others(books: None, client: Client) -> None:
    """All come of one reading of the version, several open at once."""
    digests = (await client.get("/shelf/DIGESTS")).body.decode().splitlines()

    told = {path: (digest, int(size)) for digest, path, size in map(str.split, digests)}
    assert sorted(told) == ["CATALOG", "lists/maps.list", "lists/poems.list"]
    for path, (digest, size) in told.items():
        body = (await client.get(f"/shelf/{path}")).body
        assert (hashlib.sha256(body).hexdigest(), len(body)) == (digest, size)


async def test_a_file_comes_with_the_type_and_the_headers_that_it_was_given(
    books: None, client: Client
) -> None:
    reply = await client.get("/shelf/lists/poems.list")

    assert reply.headers["content-type"] == "text/x-list"
    assert reply.headers["x-shelf"] == "poems"
    titles = [line.split()[0] for line in reply.body.decode().splitlines()]
    assert titles == ["odes", "songs"]


async def test_a_file_that_the_set_has_not_made_is_not_there(books: None, client: Client) -> None:
    assert (await client.get("/shelf/lists/prose.list")).status == 404


async def test_a_compressed_file_goes_out_as_gzip_to_who_takes_it(
    engine: Engine, upstream: Upstream, client: Client
) -> None:
    await many_books(engine, upstream)

    plain = await client.get("/shelf/CATALOG")
    packed = await client.get("/shelf/CATALOG", {"Accept-Encoding": "gzip, br"})
    refused = await client.get("/shelf/CATALOG", {"Accept-Encoding": "gzip;q=0, br"})
    head = await client.get("/shelf/CATALOG", {"Accept-Encoding": "gzip"}, method="HEAD")

    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body == refused.body
    assert len(packed.body) < len(plain.body)
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert packed.headers["etag"] != plain.headers["etag"]
    assert head.headers["content-length"] == str(len(packed.body))
    again = await client.get(
        "/shelf/CATALOG", {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]}
    )
    assert (again.status, again.headers["vary"]) == (304, "Accept-Encoding")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_unpacks_what_it_asked_for(
    engine: Engine, upstream: Upstream, client: Client, tmp_path: Path
) -> None:
    await many_books(engine, upstream)
    url = f"http://127.0.0.1:{client.port}/shelf/CATALOG"

    bodies = []
    for options in ([], ["--compressed"]):
        command = ["curl", "-sSf", *options, url, "-o", str(tmp_path / "body")]
        process = await run(command)
        assert process == 0
        bodies.append((tmp_path / "body").read_bytes())

    assert bodies[0] == bodies[1] == (await client.get("/shelf/CATALOG")).body


async def run(command: list[str]) -> int:
    process = await asyncio.create_subprocess_exec(*command)
    return await process.wait()


async def test_a_page_is_made_of_the_group_that_it_is_about(books: None, client: Client) -> None:
    reply = await client.get("/shelf/shelves/poems/", AS_JSON)

    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-shelf"] == "poems"
    assert json.loads(reply.body) == {"motto": "<poems> & more", "books": ["odes", "songs"]}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/html"),
        ("*/*", "text/html"),
        ("application/json", "application/json"),
        ("application/json, text/html;q=0.2", "application/json"),
        ("application/json;q=0.1, text/*;q=0.5", "text/html"),
        ("image/png", "text/html"),
        ("text/html;q=0, */*", "application/json"),
    ],
)
async def test_a_page_comes_in_the_form_that_its_client_prefers(
    books: None, client: Client, accept: str | None, kind: str
) -> None:
    reply = await client.get("/shelf/shelves/maps/", {"Accept": accept} if accept else {})

    assert reply.headers["content-type"] == kind
    assert reply.headers["vary"] == "Accept, Accept-Encoding"


async def test_each_form_of_a_page_has_its_own_entity_tag(books: None, client: Client) -> None:
    page = await client.get("/shelf/shelves/maps/")
    tag = {"If-None-Match": page.headers["etag"]}

    assert (await client.get("/shelf/shelves/maps/", tag)).status == 304
    assert (await client.get("/shelf/shelves/maps/", {**tag, **AS_JSON})).status == 200


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/shelf/shelves/poems", "../shelves/poems/"),
        ("/shelf@1/shelves/POEMS/", "../../shelves/poems/"),
        ("/shelf/shelves%2FPoems", "./shelves/poems/"),
    ],
)
async def test_a_page_with_another_path_is_sent_there(
    books: None, client: Client, target: str, location: str
) -> None:
    reply = await client.get(target)

    assert (reply.status, reply.headers["location"]) == (301, location)


async def test_what_counts_of_a_query_is_what_the_page_names(books: None, client: Client) -> None:
    one = await client.get("/shelf/shelves/poems/?first=1&x=2", AS_JSON)
    other = await client.get("/shelf/shelves/poems/?x=3", AS_JSON)
    bad = await client.get("/shelf/shelves/poems/?%ff=1", AS_JSON)
    long = await client.get(f"/shelf/shelves/poems/?first={'0' * 300}1", AS_JSON)

    assert json.loads(one.body)["books"] == ["odes"]
    for reply in (other, bad, long):
        assert json.loads(reply.body)["books"] == ["odes", "songs"]


async def test_a_page_that_is_not_there_leaves_its_path_to_others(
    publish: Publish, file_sync: Sync, books: None, client: Client
) -> None:
    """A folder of files is listed also where a kind would have a page, had the version its
    units.
    """
    await file_sync(publish({"shelves/poems/x": b"1", "CATALOG": b"own"})).acreate()

    listed = await client.get("/files/shelves/poems/", AS_JSON)
    moved = await client.get("/files/shelves/poems")
    top = await client.get("/files/shelves/", AS_JSON)

    assert json.loads(listed.body)["path"] == "shelves/poems/"
    assert json.loads(top.body)["folders"] == ["poems/"]
    assert moved.headers["location"] in {"./poems/", "../shelves/poems/"}
    assert (await client.get("/files/CATALOG")).body == b"own"
    assert (await client.get("/files/DIGESTS")).status == 404
    assert (await client.get("/shelf/shelves/prose/")).status == 404


async def test_an_older_version_keeps_its_files_and_pages(
    engine: Engine, upstream: Upstream, client: Client
) -> None:
    await sync_shelves(engine, put_books(upstream, BOOKS))
    before = await client.get("/shelf/shelves/poems/", AS_JSON)
    lists = await client.get("/shelf/DIGESTS")
    await sync_shelves(engine, put_books(upstream, {**BOOKS, "poems/elegies": b"four"}))

    now = await client.get("/shelf/shelves/poems/", AS_JSON)
    then = await client.get("/shelf@1/shelves/poems/", AS_JSON)

    assert json.loads(now.body)["books"] == ["elegies", "odes", "songs"]
    assert (then.body, then.headers["etag"]) == (before.body, before.headers["etag"])
    assert (await client.get("/shelf@1/DIGESTS")).body == lists.body


async def test_another_server_makes_the_same_bytes(
    engine: Engine, books: None, client: Client
) -> None:
    async with ContentServer(engine, kinds=[SHELF]) as other:
        again = Client(other.addresses[0][1])
        for target in ("/shelf/CATALOG", "/shelf/DIGESTS", "/shelf/shelves/maps/"):
            one, two = await again.get(target), await client.get(target)
            assert (one.body, one.headers["etag"]) == (two.body, two.headers["etag"])


async def test_a_page_knows_under_which_address_it_is_asked_for(
    engine: Engine, books: None, client: Client
) -> None:
    port = client.port
    async with ContentServer(engine, kinds=[SHELF], url="https://mirror.example/x") as named:
        told = await Client(named.addresses[0][1]).get("/shelf@1/addresses")

    def ask(host: str) -> bytes:
        lines = ["GET /shelf@1/addresses HTTP/1.1", f"Host: {host}", "Connection: close", "", ""]
        return "\r\n".join(lines).encode()

    ours = await client.say(ask(f"LocalHost:{port}"))
    bad = await client.say(ask("a b/<c>"))

    assert json.loads(ours.body) == [
        f"http://localhost:{port}/shelf@1/shelves/{name}/" for name in ("maps", "poems")
    ]
    assert json.loads(told.body)[0] == "https://mirror.example/x/shelf@1/shelves/maps/"
    assert bad.status == 400


async def test_a_kind_may_refuse_in_its_own_words(books: None, client: Client) -> None:
    reply = await client.get("/shelf/refused")
    head = await client.get("/shelf/refused", method="HEAD")

    assert (reply.status, reply.body) == (404, b'{"error":"no"}')
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert (head.status, head.body) == (404, b"")


async def test_a_bug_of_a_kind_fails_its_own_page(
    books: None, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "flowsync.serve.files.beside"):
        reply = await client.get("/shelf/broken")

    assert reply.status == 500
    assert "KeyError: 'shelf'" in caplog.text
    assert (await client.get("/shelf/DIGESTS")).status == 200


async def test_what_was_made_and_is_gone_is_made_anew(
    engine: Engine, books: None, client: Client
) -> None:
    before = await client.get("/shelf/DIGESTS")
    page = await client.get("/shelf/shelves/maps/")
    made = list((engine.home).rglob("*.made"))
    for file in made:
        file.unlink()

    assert made
    assert (await client.get("/shelf/DIGESTS")).body == before.body
    assert (await client.get("/shelf/shelves/maps/")).body == page.body


async def test_what_is_not_known_yet_is_asked_for_again(
    engine: Engine, upstream: Upstream, client: Client
) -> None:
    """Sizes of files that were never fetched are known once they are; pages without files stay."""
    url = put_books(upstream, {"maps/north": b"three"})
    await sync_shelves(engine, url, policy="on_demand")

    before = await client.get("/shelf/lists/maps.list")
    await sync_shelves(engine, url, policy="immediate")
    after = await client.get("/shelf/lists/maps.list")

    assert before.body.endswith(b" None\n")
    assert after.body.endswith(b" 5\n")
    assert len(list(engine.home.rglob("*.made"))) == 3


async def test_a_layout_that_was_revised_since_is_news_by_date(
    engine: Engine, books: None, client: Client
) -> None:
    """Entity tags tell new bytes; dates would not, as the version is the same."""
    revised = datetime.now(UTC) + timedelta(hours=1)
    kind = msgspec.structs.replace(
        SHELF, layout=msgspec.structs.replace(SHELF.layout, revised=revised)
    )
    since = {"If-Modified-Since": format_datetime(datetime.now(UTC), usegmt=True)}
    async with ContentServer(engine, kinds=[kind]) as server:
        reply = await Client(server.addresses[0][1]).get("/shelf/DIGESTS", since)

    assert (await client.get("/shelf/DIGESTS", since)).status == 304
    assert reply.status == 200


async def test_a_version_without_units_has_the_files_of_all_kinds(
    books: None, client: Client
) -> None:
    assert (await client.get("/shelf@0/CATALOG")).status == 200
    assert (await client.get("/shelf@0/PULP_MANIFEST")).status == 200
    assert (await client.get("/shelf/PULP_MANIFEST")).status == 404


async def test_a_server_that_closes_waits_for_no_long_reading(
    engine: Engine, upstream: Upstream
) -> None:
    """What reads on is stopped at its next batch."""
    await many_books(engine, upstream)
    began, stopped = threading.Event(), threading.Event()

    def read_on(version: VersionReader, files: NewFiles) -> None:
        try:
            while True:
                list(version.units(Book, group=("novels",)))
                began.set()
        finally:
            stopped.set()

    layout = Layout(types=(Book,), files=(GeneratedFiles(make=read_on, paths=("endless",)),))
    kind = msgspec.structs.replace(SHELF, layout=layout)
    async with ContentServer(engine, kinds=[kind]) as server:
        asking = asyncio.create_task(Client(server.addresses[0][1]).get("/shelf/endless"))
        await asyncio.to_thread(began.wait)
        asking.cancel()

    assert stopped.is_set()


def test_a_layout_that_makes_something_says_for_which_types() -> None:
    files = GeneratedFiles(make=lambda version, files: None, paths=("x",))

    with pytest.raises(DeclarationError, match="must name the types"):
        Layout(files=(files,))


def test_a_path_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"no file can be made at '\.\./x'"):
        GeneratedFiles(make=lambda version, files: None, paths=("../x",))
