"""Files and pages that kinds make from what a version holds: a manifest, the page of a project.

A version never changes, so each is made once and kept in the server's scratch folder, the most
lately asked for ones; memory holds what describes them. It is made in a thread, for all who ask
meanwhile, and packed on the way where that was wanted.

Decided: files in the scratch folder of each process instead of rows or blobs, because they can be
made again at any time, and every process makes the same bytes, so that their entity tags agree.

One module: a file and a page are made by one machinery, once for all who ask.
"""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import parse_qs

import msgspec

from flowsync.catalog.queries.served_paths import ServedVersion
from flowsync.engine.engine import Engine
from flowsync.engine.version_reader import ThreadReader, VersionReading
from flowsync.errors import CatalogError, FlowsyncError, StoreError
from flowsync.layout import (
    Document,
    GeneratedFiles,
    GeneratedPage,
    Layout,
    Moved,
    PageRequest,
)
from flowsync.runtime.tasks import in_thread
from flowsync.serve.files.lookups import Flights
from flowsync.serve.files.new_file import MadeFile, ScratchFile, ScratchFiles
from flowsync.serve.http.answer import best_type
from flowsync.serve.scratch import Scratch

KEPT: Final = 10_000
"""Things that are kept made, also that there is nothing."""

KEPT_BYTES: Final = 1 << 30
"""Bytes that they take on disk, unless the one that was made last takes more."""

_MAKERS: Final = 4
"""Threads of one server that make something."""

_FIELDS: Final = 16
"""Parameters of a query that are looked at."""

_LONGEST_VALUE: Final = 256
"""Signs of the value of a parameter; a longer one counts as not given, because it would be kept."""

_Key = tuple[Hashable, ...]
"""Repository and version, what makes it, and for which request."""

_Made = dict[str, MadeFile | Moved]
"""What was made, by path; empty where there is nothing."""


class _Kept(NamedTuple):
    """What was made; what is `passing` is made anew when it is asked for again."""

    made: _Made
    passing: bool


class NoBaseError(Exception):
    """A page holds addresses, and it is not known under which the client asks."""


class MakingFailedError(Exception):
    """The code of a kind failed. The cause tells how."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What there is at a path besides what the version holds. `vary` names the headers of requests
    that decide which of several forms it has.
    """

    made: MadeFile | Moved
    vary: str = ""
    revised: datetime | None = None


class Generated:
    """All that is made from versions by one server, with the `layouts` of its kinds. `group` owns
    the tasks that make it.
    """

    def __init__(
        self,
        engine: Engine,
        layouts: Sequence[Layout],
        scratch: Scratch,
        group: asyncio.TaskGroup,
    ) -> None:
        self._engine = engine
        self._files = [(layout, each) for layout in layouts for each in layout.files]
        self._pages = [(layout, each) for layout in layouts for each in layout.pages]
        self._scratch = scratch
        self._flights: Flights[_Key, _Made] = Flights(group)
        self._made: OrderedDict[_Key, _Kept] = OrderedDict()
        self._fitting: dict[Hashable, bool] = {}
        self._room = 0
        self._numbers = itertools.count()
        self._threads = ThreadPoolExecutor(_MAKERS, "flowsync-layout")

    @property
    def paths(self) -> list[str]:
        """The paths at which a version may have a file, as far as they are told."""
        return sorted({path for _, files in self._files for path in files.paths})

    def has_page(self, path: str) -> bool:
        """Say whether a version may have a page at `path`."""
        return any(page.covers(path) for _, page in self._pages)

    async def find(
        self,
        version: ServedVersion,
        path: str,
        *,
        accept: str | None,
        query: str,
        base: Callable[[], str | None],
    ) -> Found | None:
        """Return what the version has at the path, made if need be; `None` when there is nothing.

        `accept` and `query` are the request's; `base` gives the address of the version for its
        client. Raise `NoBaseError` or `MakingFailedError`, and what the catalog raises.
        """
        for ordinal, (layout, files) in enumerate(self._files):
            if files.has(path):
                key = _key(version, ordinal)
                made = await self._get(key, version, layout, partial(_make_files, files))
                if path in made:
                    vary = "Accept-Encoding" if _is_packed(made[path]) else ""
                    return Found(made=made[path], vary=vary, revised=layout.revised)
        for ordinal, (layout, page) in enumerate(self._pages, len(self._files)):
            if page.covers(path):
                asked = _page_request(page, path, accept, query, base)
                query_key = tuple(asked.query.items())
                key = _key(version, ordinal, path, asked.media_type, asked.base, query_key)
                made = await self._get(key, version, layout, partial(_make_page, page, asked))
                if path in made:
                    return Found(made=made[path], vary=_vary(page), revised=layout.revised)
        return None

    async def forget(self, version: ServedVersion) -> None:
        """Make all of the version anew the next time: its files are gone."""
        gone = [key for key in self._made if key[:2] == (version.repository_id, version.number)]
        for key in gone:
            kept = self._made.pop(key, None)
            if kept is not None:
                self._room -= _room(kept.made)
                await in_thread(_remove, kept.made)

    def stop(self) -> None:
        """Stop making anything."""
        self._flights.stop()
        self._threads.shutdown(wait=False, cancel_futures=False)

    async def _get(
        self, key: _Key, version: ServedVersion, layout: Layout, job: Callable[["_New"], _Made]
    ) -> _Made:
        kept = self._made.get(key)
        if kept is not None and not kept.passing:
            self._made.move_to_end(key)
            return kept.made
        return await self._flights.join(key, lambda: self._make(key, version, layout, job))

    async def _make(
        self, key: _Key, version: ServedVersion, layout: Layout, job: Callable[["_New"], _Made]
    ) -> _Made:
        folder = await self._scratch.folder()
        reading = VersionReading(self._engine.catalog.units, version)
        new = _New(reading.reader, lambda: f"{folder}/{next(self._numbers)}.made")
        try:
            made = await reading.run(self._threads, lambda _: job(new))
        except (CatalogError, StoreError, OSError):
            raise
        except FlowsyncError as error:
            raise MakingFailedError(str(error)) from error
        except Exception as error:
            raise MakingFailedError(repr(error)) from error
        if made and not (reading.reader.was_read or await self._is_for(layout, version)):
            await in_thread(_remove, made)
            made = {}
        # What is not known of a file today may be known tomorrow.
        await self._keep(key, _Kept(made, passing=not reading.reader.complete and bool(made)))
        return made

    async def _is_for(self, layout: Layout, version: ServedVersion) -> bool:
        """Say whether the version is one that the layout is for."""
        if not version.present:
            return True
        key = version.repository_id, version.number, layout.types
        if key not in self._fitting:
            if len(self._fitting) >= KEPT:
                self._fitting.clear()
            units = self._engine.catalog.units
            # It may read the whole version, and no client may have that done for each address.
            self._fitting[key] = await units.are_held(version, layout.types)
        return self._fitting[key]

    async def _keep(self, key: _Key, kept: _Kept) -> None:
        gone = [self._made.pop(key)] if key in self._made else []
        self._made[key] = kept
        self._room += _room(kept.made) - sum(_room(old.made) for old in gone)
        while len(self._made) > 1 and (len(self._made) > KEPT or self._room > KEPT_BYTES):
            _, old = self._made.popitem(last=False)
            self._room -= _room(old.made)
            gone.append(old)
        for old in gone:
            await in_thread(_remove, old.made)


class _New(msgspec.Struct, frozen=True):
    """What a job makes something from, and the names for its files."""

    reader: ThreadReader
    fresh: Callable[[], str]


def _key(version: ServedVersion, *of: Hashable) -> _Key:
    return (version.repository_id, version.number, *of)


def _make_files(files: GeneratedFiles, new: _New) -> _Made:
    made = ScratchFiles(files, new.fresh)
    try:
        files.make(new.reader, made)
        return dict(made.made())
    except BaseException:
        made.discard()
        raise


def _make_page(page: GeneratedPage, asked: PageRequest, new: _New) -> _Made:
    found = page.make(new.reader, asked)
    if found is None:
        return {}
    if isinstance(found, Moved):
        return {asked.path: found}
    file = ScratchFile(new.fresh(), compressed=page.compressed)
    try:
        for piece in _pieces(found):
            file.write(piece)
        kind = found.content_type or asked.media_type or None
        return {asked.path: file.made(kind, found.headers, found.status)}
    except BaseException:
        file.discard()
        raise


def _pieces(document: Document) -> Iterable[bytes]:
    return (document.body,) if isinstance(document.body, bytes) else document.body


def _page_request(
    page: GeneratedPage,
    path: str,
    accept: str | None,
    query: str,
    base: Callable[[], str | None],
) -> PageRequest:
    found = base() if page.absolute else ""
    if found is None:
        raise NoBaseError
    return PageRequest(
        path=path,
        media_type=best_type(accept, page.media_types) if page.media_types else "",
        query=_parameters(query, page.parameters),
        base=found,
    )


def _parameters(query: str, names: Sequence[str]) -> Mapping[str, str]:
    if not names or not query:
        return {}
    try:
        given = parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
    except ValueError:
        return {}
    found = {name: given[name][0] for name in names if name in given}
    return {name: value for name, value in found.items() if len(value) <= _LONGEST_VALUE}


def _vary(page: GeneratedPage) -> str:
    names = ["Accept"] if len(page.media_types) > 1 else []
    return ", ".join([*names, *(["Accept-Encoding"] if page.compressed else [])])


def _is_packed(made: MadeFile | Moved) -> bool:
    return isinstance(made, MadeFile) and made.packed is not None


def _room(made: _Made) -> int:
    return sum(each.room for each in made.values() if isinstance(each, MadeFile))


def _remove(made: _Made) -> None:
    for each in made.values():
        if isinstance(each, MadeFile):
            each.remove()
