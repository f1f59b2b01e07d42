"""A kind of source for tests: shelves of books, listed in one JSON file. It uses every part of what
a `SourceKind` can give.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from html import escape
from typing import Any

import msgspec

from flowsync import (
    WHOLE_CONTENT,
    Artifact,
    Content,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    Document,
    Engine,
    GeneratedFiles,
    GeneratedPage,
    Layout,
    Mount,
    MountRequest,
    Moved,
    NewFiles,
    PageRequest,
    Place,
    Remote,
    Repository,
    SourceKind,
    Stage,
    StoredFile,
    SyncResult,
    UpstreamUnchanged,
    VersionReader,
)
from tests.upstream.server import Upstream


class Book(Content):
    """A book on a shelf."""

    type_name = "shelf.book"
    natural_key = ("shelf", "title", "sha256")
    repo_key = ("shelf", "title")
    group_key = ("shelf",)

    shelf: str
    title: str
    sha256: str


class Shelf(Content):
    """A shelf: a unit without files."""

    type_name = "shelf.shelf"
    natural_key = WHOLE_CONTENT
    repo_key = ("name",)
    group_key = ("name",)

    name: str
    motto: str


class ShelfOptions(msgspec.Struct, frozen=True):
    """Which shelves are taken; none named means all."""

    shelves: frozenset[str] = frozenset()


class ShelfStage(Stage):
    """Declares the books of the list at the remote's URL."""

    def __init__(self, remote: Remote, options: ShelfOptions) -> None:
        self.remote = remote
        self.wanted = options.shelves

    async def run(self) -> None:
        before = await self.context.upstream.recall(self.remote)
        fetched = await self.remote.get_downloader(
            url=self.remote.url, folder=self.context.staging
        ).run()
        seen = {"sha256": fetched.digests["sha256"]}
        if seen == before:
            raise UpstreamUnchanged(self.remote.url)
        assert fetched.path is not None
        with open(fetched.path, "rb") as listed:
            books = json.load(listed)
        taken = [each for each in books if not self.wanted or each["shelf"] in self.wanted]
        for name in sorted({book["shelf"] for book in taken}):
            await self.put(DeclarativeContent(Shelf(name, f"<{name}> & more")))
        for book in taken:
            await self.put(self._declaration(book))
        self.context.upstream.remember(self.remote, seen)

    def _declaration(self, book: dict[str, str]) -> DeclarativeContent:
        path = f"books/{book['shelf']}/{book['title']}"
        artifact = DeclarativeArtifact(
            Artifact(sha256=book["sha256"]),
            url=f"{self.remote.url.rpartition('/')[0]}/{path}",
            relative_path=path,
            remote=self.remote,
            deferred_download=self.remote.deferred,
        )
        return DeclarativeContent(Book(**book), [artifact])


def write_lists(version: VersionReader, files: NewFiles) -> None:
    """Write a list of each shelf, one of all, and the digests of these."""
    with ExitStack() as lists:
        catalog = lists.enter_context(files.open("CATALOG", compressed=True))
        made = {"CATALOG": catalog}
        for book in version.files(Book):
            path = f"lists/{book.content.shelf}.list"
            if path not in made:
                made[path] = lists.enter_context(
                    files.open(path, content_type="text/x-list", headers={"X-Shelf": path[6:-5]})
                )
            for file in (made[path], catalog):
                file.write(f"{book.content.title} {book.sha256} {book.size}\n".encode())
    with files.open("DIGESTS") as digests:
        for path, file in sorted(made.items()):
            digests.write(f"{file.sha256}  {path}  {file.size}\n".encode())


def shelf_page(version: VersionReader, asked: PageRequest) -> Document | Moved | None:
    """Give the page of one shelf, by its name in lower case."""
    name = asked.path.removeprefix("shelves/").removesuffix("/")
    if asked.path != f"shelves/{name.lower()}/":
        return Moved(f"shelves/{name.lower()}/")
    shelf = next(version.units(Shelf, group=(name,)), None)
    if shelf is None:
        return None
    books = sorted(book.content.title for book in version.units(Book, group=(name,)))
    books = books[: int(asked.query.get("first", len(books)))]
    if asked.media_type == "text/html":
        items = "".join(f'<li><a href="../../books/{name}/{each}">{each}</a>' for each in books)
        return Document(body=f"<h1>{escape(shelf.content.motto)}</h1>{items}".encode())
    facts = {"motto": shelf.content.motto, "books": books}
    return Document(body=json.dumps(facts).encode(), headers={"X-Shelf": name})


def all_shelves(version: VersionReader, asked: PageRequest) -> Document:
    """Give the list of all shelves, piece by piece."""
    units = version.units(Shelf, with_files=False)
    names = sorted(unit.content.name for unit in units)
    return Document(body=(f"{name}\n".encode() for name in names), content_type="text/plain")


def addresses(version: VersionReader, asked: PageRequest) -> Document:
    """Give the address of each shelf."""
    names = sorted(unit.content.name for unit in version.units(Shelf, with_files=False))
    return Document(body=json.dumps([f"{asked.base}shelves/{name}/" for name in names]).encode())


def broken(version: VersionReader, asked: PageRequest) -> Document:
    """Fail, as code does."""
    raise KeyError("shelf")


def refused(version: VersionReader, asked: PageRequest) -> Document | None:
    """Say no in the kind's own words."""
    if next(version.units(Shelf), None) is None:
        return None
    return Document(body=b'{"error":"no"}', content_type="application/json", status=404)


def resolve(asked: MountRequest) -> Place | Document | None:
    """Read `/v2/`, `/v2/REPOSITORY/SHELF/TITLE` and `/v2/REPOSITORY/SHELF`; both names may be one
    segment with an encoded slash, and REPOSITORY.v3 is a version.
    """
    match asked.segments:
        case ("",):
            return Document(body=b"{}", content_type="application/json")
        case (repository, *names):
            name, version, number = repository.partition(".v")
            path = "/".join(names)
            folder = "books" if "/" in path else "shelves"
            end = "" if "/" in path else "/"
            return Place(
                repository=name,
                path=f"{folder}/{path}{end}",
                number=int(number) if version else None,
            )
    return None


def refuse(status: int, said: str) -> Document:
    """Word a refusal."""
    errors = json.dumps({"errors": [{"code": status, "message": said}]})
    return Document(body=errors.encode(), content_type="application/json", status=status)


def book_headers(file: StoredFile) -> dict[str, str]:
    """Say what a stored book is."""
    if file.fields.get("title") == "unspeakable":
        raise KeyError("title")
    return {"Content-Type": "text/x-book", "X-Shelf": file.fields["shelf"]}


LAYOUT = Layout(
    types=(Book, Shelf),
    mounts=(Mount(prefix="v2", resolve=resolve, refuse=refuse, headers={"X-Protocol": "2"}),),
    headers=book_headers,
    lasting=lambda path: path.startswith("books/"),
    files=(
        GeneratedFiles(
            make=write_lists,
            paths=("CATALOG", "DIGESTS"),
            covers=lambda path: path.startswith("lists/") and path.endswith(".list"),
        ),
    ),
    pages=(
        GeneratedPage(covers=lambda path: path == "shelves/", make=all_shelves),
        GeneratedPage(
            covers=lambda path: path.startswith("shelves/"),
            make=shelf_page,
            media_types=("text/html", "application/json"),
            parameters=("first",),
        ),
        GeneratedPage(
            covers=lambda path: path == "addresses",
            make=addresses,
            media_types=("application/json",),
            absolute=True,
        ),
        GeneratedPage(covers=lambda path: path == "broken", make=broken),
        GeneratedPage(covers=lambda path: path == "refused", make=refused),
    ),
)

SHELF = SourceKind(
    name="shelf",
    summary="A JSON list of books.",
    first_stage=ShelfStage,
    options=ShelfOptions,
    layout=LAYOUT,
)


def put_books(upstream: Upstream, books: Mapping[str, bytes]) -> str:
    """Put books and their list upstream; return the list's URL."""
    listed = []
    for name, text in books.items():
        shelf, _, title = name.partition("/")
        upstream.put(f"/books/{name}", text)
        listed.append({"shelf": shelf, "title": title, "sha256": hashlib.sha256(text).hexdigest()})
    return upstream.put("/list.json", json.dumps(listed).encode(), etag=None)


async def sync_shelves(
    engine: Engine,
    url: str,
    options: msgspec.Struct | None = None,
    *,
    mirror: bool = True,
    **remote: Any,
) -> SyncResult:
    """Sync a list into the repository "shelf", and return what came of it."""
    source = Remote(**{"name": "shelf", "url": url, "max_retries": 0, **remote})
    stage = SHELF.first_stage(source, options or ShelfOptions())
    sync = DeclarativeVersion(
        stage, Repository(name="shelf"), mirror, engine=engine, max_removal=1.0
    )
    await sync.acreate()
    assert sync.result is not None
    return sync.result
