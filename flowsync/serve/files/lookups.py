"""Look-ups of paths, put together: what is asked while a question is at the database goes there
with the next one.

One request alone waits for nothing. Of many at once, each costs its share of a round trip and of a
pooled connection instead of one of each (`bench/serving`). At most `LANES` questions are at the
database at a time.

Also here: work that several requests wait for, and the answers for files and folders. A look-up is
shared work, and its answer is the file or the folder.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Hashable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Generic, TypeVar
from urllib.parse import parse_qs

from flowsync.catalog.queries.served_paths import PathQuestion, ServedFile, ServedVersion, Serving
from flowsync.engine.engine import Engine
from flowsync.errors import BlobMissingError, CatalogError, CatalogUnavailableError, StoreError
from flowsync.runtime.tasks import opened_in_thread
from flowsync.serve.files.sending import SMALL, UnreadableFileError, open_part
from flowsync.serve.http import listing
from flowsync.serve.http.answer import (
    REVALIDATE,
    Answer,
    Asked,
    Flow,
    OpenPart,
    Unreadable,
    is_known,
    plain,
)
from flowsync.serve.http.request import Address, Slice
from flowsync.store.port import BlobReader, BlobStore

LANES: Final = 2
_MOST: Final = 200
"""Paths of one question."""

_log = logging.getLogger(__name__)

_Found = ServedFile | CatalogError | None


class LookUps:
    """The look-ups of one server. `group` owns the tasks that ask; `patience` (seconds) bounds each
    question. What is found of units of the types that are `described` has their fields.
    """

    def __init__(
        self,
        serving: Serving,
        group: asyncio.TaskGroup,
        patience: float,
        described: Sequence[str] = (),
    ) -> None:
        self._serving = serving
        self._group = group
        self._patience = patience
        self._described = described
        self._lanes = 0
        self._waiting: deque[tuple[PathQuestion, asyncio.Future[_Found]]] = deque()

    async def find(self, question: PathQuestion) -> ServedFile | None:
        """Return what the version has at the path, as `Serving.find` does, and raise what it
        raises.
        """
        answer: asyncio.Future[_Found] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._lanes < LANES:
            self._lanes += 1
            self._group.create_task(self._ask_all())
        found = await answer
        if isinstance(found, CatalogError):
            raise found
        return found

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                count = min(len(self._waiting), _MOST)
                batch = [self._waiting.popleft() for _ in range(count)]
                found = await self._ask([question for question, _ in batch])
                for (_, answer), one in zip(batch, found, strict=True):
                    if not answer.done():
                        answer.set_result(one)
        finally:
            # In the same step in which nothing was waiting any more: what comes next opens a
            # lane.
            self._lanes -= 1

    async def _ask(self, questions: list[PathQuestion]) -> list[_Found]:
        try:
            async with asyncio.timeout(self._patience):
                return await self._serving.find_all(questions, self._described)
        except TimeoutError:
            late = CatalogUnavailableError(f"no answer within {self._patience:g} s")
            return [late] * len(questions)
        except CatalogError as failure:
            return [failure] * len(questions)
        except Exception as failure:  # noqa: BLE001 - see below
            # A bug: those who asked are told, and the server goes on.
            _log.exception("cannot look up %d paths", len(questions))
            return [CatalogError(f"looking up paths: {failure!r}")] * len(questions)


# Work that several requests wait for: begun once a key, in a task that belongs to the server and
# not to a request.
#
# 1. A request while it is under way joins it; one after it has ended begins anew.
# 2. A request that ends, however it ends, stops nothing; the server's end does.
# 3. A failure is told to all who wait, and to none when none wait.

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """The work of one kind that is under way. `group` owns the tasks; used by the tasks of one
    loop.
    """

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._under_way: dict[K, asyncio.Future[V]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, key: K) -> asyncio.Future[V] | None:
        """Return the work of that key, if it is under way."""
        return self._under_way.get(key)

    def begin(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Future[V]:
        """Return the work of that key, which begins now unless it is under way. Await it
        shielded.
        """
        future = self._under_way.get(key)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            future.add_done_callback(_heard)
            self._under_way[key] = future
            task = self._group.create_task(self._run(key, future, work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    def stop(self) -> None:
        """Cancel all that is under way; the owner of the group waits for it."""
        for task in self._tasks:
            task.cancel()

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Wait for the work of that key, which begins now unless it is under way, and return its
        result or raise its failure.
        """
        return await asyncio.shield(self.begin(key, work))

    async def _run(
        self, key: K, future: asyncio.Future[V], work: Callable[[], Coroutine[Any, Any, V]]
    ) -> None:
        try:
            result = await work()
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - told to those who wait; the server goes on
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            del self._under_way[key]


def _heard(future: asyncio.Future[Any]) -> None:
    """Nobody may be waiting any more; then the loop shall not complain about a failure that nobody
    saw.
    """
    if not future.cancelled():
        future.exception()


# Opens a part of a blob to be sent: from its file where the store has local ones, or as it comes
# from the store.


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


# Answers for folders: the page of one, as HTML or JSON, and the list of all repositories.

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
