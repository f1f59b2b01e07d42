"""Answers for folders: the page of one, as HTML or JSON, and the list of all repositories."""

import hashlib
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs

from flowsync.catalog.queries.served_paths import ServedVersion
from flowsync.engine.engine import Engine
from flowsync.serve.http import listing
from flowsync.serve.http.answer import Answer, Asked, plain
from flowsync.serve.http.caching import REVALIDATE
from flowsync.serve.http.conditions import is_known
from flowsync.serve.http.target import Address

VERSIONS_SHOWN: Final = 20
"""Versions to choose from on a page, the newest."""


class Folders:
    """Makes the pages of folders. `beside` are the paths of metadata files that a version
    may have.
    """

    def __init__(self, engine: Engine, beside: Sequence[str]) -> None:
        self._engine = engine
        self._beside = beside

    async def answer(self, asked: Asked, address: Address, query: str) -> Answer:
        """Return the page that is asked for, or 404 for a folder in which nothing lies. Raise what
        the catalog raises.
        """
        as_json = listing.wants_json(asked.headers.get("Accept"))
        if not address.repository:
            names = await self._engine.catalog.repositories.names()
            body = listing.repositories_json(names) if as_json else listing.repositories_html(names)
            return _page(asked, body, as_json=as_json)
        version = await self._engine.catalog.serving.version(
            address.repository, address.number, address.moment
        )
        folder = await self._folder(version, address.path, _after(query, address.path))
        if folder is None:
            return plain(404, f"version {version.number} of {version.name} has no such folder")
        body = listing.folder_json(folder) if as_json else listing.folder_html(folder)
        return _page(asked, body, as_json=as_json)

    async def _folder(
        self, version: ServedVersion, path: str, after: str | None
    ) -> listing.Folder | None:
        serving = self._engine.catalog.serving
        page = await serving.folder(version, path, after)
        if path:
            shown = page.children or after is not None
            return listing.Folder(version=version, path=path, page=page) if shown else None
        versions = await serving.newest_versions(version, VERSIONS_SHOWN)
        return listing.Folder(
            version=version, path=path, page=page, beside=self._beside, versions=versions
        )


def _after(query: str, folder: str) -> str | None:
    """Return where the page begins. What lies outside of the folder counts as its beginning."""
    try:
        (after,) = parse_qs(query, errors="strict", max_num_fields=8).get("after", [""])
        after.encode()
    except ValueError:
        return None
    return after if after.startswith(folder) and after and "\0" not in after else None


def _page(asked: Asked, body: bytes, *, as_json: bool) -> Answer:
    kind = "application/json" if as_json else "text/html; charset=utf-8"
    digest = hashlib.sha256(body).hexdigest()
    headers = {
        "Content-Type": kind,
        "Content-Security-Policy": listing.POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": REVALIDATE,
        "Vary": "Accept",
        "ETag": f'"{digest}"',
    }
    if is_known(asked.headers.get("If-None-Match"), digest):
        return Answer(status=304, headers=headers, length=None)
    return Answer(headers=headers, body=body, length=len(body))
