"""A kind of source for tests: shelves of books, listed in one JSON file. It uses every part of what
a `SourceKind` can give.
"""

import json

import msgspec

from flowsync import (
    Artifact,
    Content,
    DeclarativeArtifact,
    DeclarativeContent,
    Remote,
    SourceKind,
    Stage,
    UpstreamUnchanged,
)


class Book(Content):
    """A book on a shelf."""

    type_name = "shelf.book"
    natural_key = ("shelf", "title", "sha256")
    repo_key = ("shelf", "title")

    shelf: str
    title: str
    sha256: str


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
        for book in books:
            if not self.wanted or book["shelf"] in self.wanted:
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


SHELF = SourceKind(
    name="shelf", summary="A JSON list of books.", first_stage=ShelfStage, options=ShelfOptions
)
