"""A first stage for tests whose upstream has an index of shelves with tokens, and a list of books
for each: what has its token of last time is kept without being fetched.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from flowsync import (
    Artifact,
    DeclarativeArtifact,
    DeclarativeContent,
    Remote,
    Stage,
    UpstreamUnchanged,
)
from tests.kinds.shelf import Book, Shelf
from tests.upstream.server import Upstream

Shelves = Mapping[str, Mapping[str, bytes]]


class BranchesStage(Stage):
    """Declares the books of the shelves whose token changed, and keeps the others."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.fails_at_end = False

    async def run(self) -> None:
        upstream = self.context.upstream
        index = await self._fetch("index.json")
        before = await upstream.recall(self.remote)
        if before == index:
            raise UpstreamUnchanged(self.remote.url)
        tokens = await upstream.recall_items()
        unchanged = [(name,) for name, token in index.items() if tokens.get(name) == token]
        lost = [
            *await self.context.keep(Book, unchanged),
            *await self.context.keep(Shelf, unchanged),
        ]
        fetched = {name for name in index if (name,) not in unchanged or (name,) in lost}
        for name in sorted(fetched):
            await self._declare(name)
            await upstream.remember_items({name: index[name]})
        await upstream.remember_items(dict.fromkeys(tokens.keys() - index.keys()))
        upstream.remember(self.remote, index)
        if self.fails_at_end:
            raise RuntimeError("at the end")

    async def _declare(self, name: str) -> None:
        await self.put(DeclarativeContent(Shelf(name, "")))
        for title, sha256 in (await self._fetch(f"{name}.json")).items():
            artifact = DeclarativeArtifact(
                Artifact(sha256=sha256),
                url=f"{self.remote.url}{name}/{title}",
                relative_path=f"books/{name}/{title}",
                remote=self.remote,
            )
            await self.put(DeclarativeContent(Book(name, title, sha256), [artifact]))

    async def _fetch(self, path: str) -> dict[str, Any]:
        downloader = self.remote.get_downloader(
            url=f"{self.remote.url}{path}", folder=self.context.staging
        )
        fetched = await downloader.run()
        assert fetched.path is not None
        with open(fetched.path, "rb") as file:
            found: dict[str, Any] = json.load(file)
        return found


def put_shelves(upstream: Upstream, shelves: Shelves) -> str:
    """Put shelves upstream, each with a token that changes with its books; return the URL."""
    tokens = {}
    for name, books in shelves.items():
        digests = {title: hashlib.sha256(body).hexdigest() for title, body in books.items()}
        for title, body in books.items():
            upstream.put(f"/{name}/{title}", body)
        listed = json.dumps(digests).encode()
        upstream.put(f"/{name}.json", listed)
        tokens[name] = hashlib.sha256(listed).hexdigest()[:8]
    upstream.put("/index.json", json.dumps(tokens).encode())
    return upstream.url("/")
