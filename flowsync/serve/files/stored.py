"""Opens a part of a blob to be sent: from its file where the store has local ones, or as it comes
from the store.

Answers for folders: the page of one, as HTML or JSON, and the list of all repositories.
"""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import parse_qs

from flowsync.catalog.queries.served_paths import ServedVersion
from flowsync.engine.engine import Engine
from flowsync.errors import BlobMissingError, StoreError
from flowsync.runtime.threads import opened_in_thread
from flowsync.serve.files.sending import SMALL, UnreadableFileError, open_part
from flowsync.serve.http import listing
from flowsync.serve.http.answer import Answer, Asked, Flow, OpenPart, Unreadable, plain
from flowsync.serve.http.conditions import REVALIDATE, is_known
from flowsync.serve.http.ranges import Slice
from flowsync.serve.http.target import Address
from flowsync.store.port import BlobReader, BlobStore


async def open_file(path: str, size: int, part: Slice) -> bytes | OpenPart | Unreadable:
    """Return the part of a file, as `open_part` does in a thread."""
    return await opened_in_thread(open_part, path, size, part, close=_close)


async def open_stored(
    store: BlobStore, name: str, size: int, part: Slice
) -> bytes | OpenPart | Flow | Unreadable:
    """Return the part of the blob, read, open, or as it comes, or why it cannot be had: one of
    another size than `size` is damaged.

    A flow raises `UnreadableFileError` when the blob cannot be read to the end of the part.
    """
    path = store.local(name)
    if path is not None:
        return await open_file(path, size, part)
    try:
        return await _open_reader(store, name, size, part)
    except BlobMissingError as error:
        return Unreadable(str(error), there=False)
    except StoreError as error:
        return Unreadable(str(error), there=True)
    except UnreadableFileError as error:
        return Unreadable(error.reason, there=True)


async def _open_reader(
    store: BlobStore, name: str, size: int, part: Slice
) -> bytes | Flow | Unreadable:
    async with AsyncExitStack() as held:
        reader = await held.enter_async_context(store.reading(name, part.offset, part.end))
        if reader.size != size:
            return Unreadable(f"it has {reader.size} of {size} bytes", there=True)
        pieces = _pieces(reader, part)
        if part.count <= SMALL:
            return b"".join([piece async for piece in pieces])
        return Flow(pieces, held.pop_all().aclose)


async def _pieces(reader: BlobReader, part: Slice) -> AsyncGenerator[bytes, None]:
    offset = part.offset
    try:
        async for chunk in reader.chunks:
            yield chunk
            offset += len(chunk)
    except StoreError as error:
        raise UnreadableFileError(offset, str(error)) from error
    if offset != part.end:
        raise UnreadableFileError(offset, "it has become shorter")


def _close(body: bytes | OpenPart | Unreadable) -> None:
    if isinstance(body, OpenPart):
        body.file.close()


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
