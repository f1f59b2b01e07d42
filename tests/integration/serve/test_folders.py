"""Pages of folders, and the manifest by which others sync from what is served."""

import json
from html.parser import HTMLParser
from urllib.parse import urljoin

from flowsync import Engine
from tests.integration.serve.conftest import Client
from tests.integration.sync.conftest import Publish, Sync

FILES = {
    "a.txt": b"one",
    "sub/b.txt": b"two",
    "sub/deep/c": b"three",
    "<b>&\"'.txt": b"four",
    "q?x#y": b"five",
    "with, comma": b"six",
    "data:text": b"seven",
}
AS_JSON = {"Accept": "application/json"}


class Links(HTMLParser):
    """The links of a page, and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.hrefs += [value for name, value in attrs if name == "href" and value]

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_every_link_of_a_page_leads_where_its_name_says(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish(FILES)).acreate()

    page = await client.get("/files/")
    links = Links(page.body)

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script" not in links.tags
    assert "<b>&\"'.txt" in links.text
    assert "b" not in links.tags
    bodies = []
    for href in links.hrefs:
        reply = await client.get(urljoin("/files/", href))
        assert reply.status == 200
        bodies.append(reply.body)
    for name, body in FILES.items():
        assert (body in bodies) == ("/" not in name)


async def test_a_folder_as_json_tells_what_is_known_of_its_files(
    engine: Engine, publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish(FILES)).acreate()
    version = await engine.catalog.repositories.version("files")

    top = json.loads((await client.get("/files/", AS_JSON)).body)
    sub = json.loads((await client.get("/files@1/sub/", AS_JSON)).body)

    assert top["folders"] == ["sub/"]
    assert [file["name"] for file in top["files"]] == sorted(
        name for name in FILES if "/" not in name
    )
    assert [each["number"] for each in top["versions"]] == [1, 0]
    assert top["published"] == ["PULP_MANIFEST"]
    assert (sub["version"], sub["path"], sub["folders"]) == (1, "sub/", ["deep/"])
    (file,) = sub["files"]
    assert (file["name"], file["size"], file["stored"]) == ("b.txt", 3, True)
    assert file["sha256"] == "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"
    assert file["since"] == version.created.isoformat().replace("+00:00", "Z")


async def test_repositories_are_listed(publish: Publish, file_sync: Sync, client: Client) -> None:
    url = publish(FILES)
    await file_sync(url, name="one").acreate()
    await file_sync(url, name="two").acreate()

    page = await client.get("/")
    listed = await client.get("/", AS_JSON)

    assert Links(page.body).hrefs == ["./one/", "./two/"]
    assert json.loads(listed.body) == {"repositories": ["one", "two"]}


async def test_a_folder_without_its_slash_is_sent_to_it(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({"x y/z": b"1"})).acreate()

    for target, location in [
        ("/files", "./files/"),
        ("/files@1", "./files@1/"),
        ("/files/x%20y", "./x%20y/"),
        ("/files@1/x%20y", "./x%20y/"),
        ("/files/x%20y/.", "././"),
        ("/files/x%20y%2f", "./x%20y/"),
    ]:
        reply = await client.get(target)
        assert (reply.status, reply.headers["location"]) == (301, location)


async def test_a_page_is_not_sent_again_to_whoever_has_it(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish(FILES)).acreate()
    page = await client.get("/files/")

    again = await client.get("/files/", {"If-None-Match": page.headers["etag"]})
    other = await client.get("/files/", {"If-None-Match": page.headers["etag"], **AS_JSON})

    assert again.status == 304
    assert other.status == 200


async def test_a_folder_of_many_files_comes_in_pages(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish({f"f/{number:04}": b"x" for number in range(1001)})).acreate()

    first = json.loads((await client.get("/files/f/", AS_JSON)).body)
    page = Links((await client.get("/files/f/")).body)
    second = json.loads((await client.get(f"/files/f/{page.hrefs[-1]}", AS_JSON)).body)

    assert len(first["files"]) == 1000
    assert [file["name"] for file in second["files"]] == ["1000"]
    assert second["next"] is None


async def test_syncing_from_a_served_repository_gives_the_same_root(
    engine: Engine, publish: Publish, file_sync: Sync, client: Client
) -> None:
    """The manifest lists just what is served."""
    await file_sync(publish(FILES)).acreate()
    await file_sync(publish({**FILES, "a.txt": b"changed"})).acreate()

    base = f"http://127.0.0.1:{client.port}"
    newest = await file_sync(f"{base}/files/PULP_MANIFEST", name="again").acreate()
    first = await file_sync(f"{base}/files@1/", name="first").acreate()

    assert newest is not None
    assert first is not None
    assert newest.root == (await engine.catalog.repositories.version("files", 2)).root
    assert first.root == (await engine.catalog.repositories.version("files", 1)).root
    assert first.root != newest.root


async def test_a_manifest_is_made_once_and_the_same_by_every_process(
    publish: Publish, file_sync: Sync, client: Client, engine: Engine
) -> None:
    await file_sync(publish({"b, c": b"two", "a": b"one"})).acreate()

    first = await client.get("/files/PULP_MANIFEST")
    part = await client.get("/files/PULP_MANIFEST", {"Range": "bytes=0-1"})
    known = await client.get("/files/PULP_MANIFEST", {"If-None-Match": first.headers["etag"]})

    assert first.body.decode() == (
        "a,7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed,3\n"
        "b, c,3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3,3\n"
    )
    assert (part.status, part.body) == (206, b"a,")
    assert known.status == 304


async def test_an_unchanged_served_repository_is_skipped_by_the_next_sync(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    """Flowsync is its own upstream here."""
    await file_sync(publish(FILES)).acreate()
    url = f"http://127.0.0.1:{client.port}/files/PULP_MANIFEST"
    await file_sync(url, name="again").acreate()

    sync = file_sync(url, name="again")
    await sync.acreate()

    assert sync.result is not None
    assert sync.result.skipped


async def test_an_empty_version_has_an_empty_manifest(
    publish: Publish, file_sync: Sync, client: Client
) -> None:
    await file_sync(publish(FILES)).acreate()

    reply = await client.get("/files@0/PULP_MANIFEST")

    assert (reply.status, reply.body) == (200, b"")
