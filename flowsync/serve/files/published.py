"""Metadata files that are made from what a version holds, such as a manifest.

A version never changes, so its file is made once and kept in the server's scratch folder, the most
lately asked for ones; memory holds their digests only. It is made in batches, and by one task
whoever asks meanwhile.

Decided: files in the scratch folder of each process instead of rows or blobs, because they can be
made again at any time, and every process makes the same bytes, so that their entity tags agree.
"""

import asyncio
import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import aclosing, suppress
from itertools import count
from typing import BinaryIO, Final

import msgspec

from flowsync.catalog.queries.served_paths import ServedVersion
from flowsync.engine.engine import Engine
from flowsync.kinds import MetadataFile
from flowsync.model.repository import VersionEntry
from flowsync.runtime.threads import in_thread
from flowsync.serve.files.flights import Flights
from flowsync.serve.scratch import Scratch

KEPT: Final = 64
"""Files that are kept made."""

_Key = tuple[int, int, str]


class PublishedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was made: where it is, its size in bytes and its sha256."""

    file: str
    size: int
    sha256: str


class PublishedFiles:
    """The metadata files of one server, made in `scratch` when they are first asked for. `group`
    owns the tasks that make them.
    """

    def __init__(
        self,
        engine: Engine,
        files: Sequence[MetadataFile],
        scratch: Scratch,
        group: asyncio.TaskGroup,
    ) -> None:
        self._engine = engine
        self._files = {file.path: file for file in files}
        self._scratch = scratch
        self._flights: Flights[_Key, PublishedFile | None] = Flights(group)
        self._made: OrderedDict[_Key, PublishedFile | None] = OrderedDict()
        self._numbers = count()

    @property
    def paths(self) -> list[str]:
        """The paths at which a version may have one."""
        return sorted(self._files)

    async def find(self, version: ServedVersion, path: str) -> PublishedFile | None:
        """Return the file at that path of the version, made if need be; `None` when there is none:
        no unit of the version is of its type.
        """
        if path not in self._files:
            return None
        key = (version.repository_id, version.number, path)
        if key in self._made:
            self._made.move_to_end(key)
            return self._made[key]
        return await self._flights.join(key, lambda: self._make(key, version))

    def forget(self, version: ServedVersion, path: str) -> None:
        """Make the file anew the next time: someone removed it."""
        self._made.pop((version.repository_id, version.number, path), None)

    def stop(self) -> None:
        """Stop making files."""
        self._flights.stop()

    async def _make(self, key: _Key, version: ServedVersion) -> PublishedFile | None:
        metadata = self._files[key[2]]
        file = f"{await self._scratch.folder()}/{next(self._numbers)}.published"
        writing = _Writing(file)
        try:
            complete = await self._write(metadata, version, writing)
        finally:
            await in_thread(writing.close)
        if version.present and not writing.entries:
            await in_thread(_remove, file)
            made = None
        else:
            made = PublishedFile(file=file, size=writing.size, sha256=writing.sha256)
        # What is not known of a file today may be known tomorrow.
        if complete or made is None:
            await self._keep(key, made)
        return made

    async def _write(
        self, metadata: MetadataFile, version: ServedVersion, writing: "_Writing"
    ) -> bool:
        complete = True
        batches = self._engine.catalog.repositories.entries(version.name, version.number)
        async with aclosing(batches):
            async for batch in batches:
                wanted = [entry for entry in batch if entry.type == metadata.type_name]
                complete = complete and all(entry.size is not None for entry in wanted)
                await in_thread(writing.add, metadata, wanted)
        return complete

    async def _keep(self, key: _Key, made: PublishedFile | None) -> None:
        self._made[key] = made
        while len(self._made) > KEPT:
            _, old = self._made.popitem(last=False)
            if old is not None:
                await in_thread(_remove, old.file)


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


class _Writing:
    """A file that is being made; its methods block."""

    def __init__(self, path: str) -> None:
        self.size = self.entries = 0
        self._path = path
        self._file: BinaryIO | None = None
        self._hasher = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hasher.hexdigest()

    def add(self, metadata: MetadataFile, entries: Sequence[VersionEntry]) -> None:
        text = metadata.render(entries)
        if self._file is None:
            self._file = open(self._path, "wb")  # noqa: SIM115 - closed by whoever made this
        self._file.write(text)
        self._hasher.update(text)
        self.size += len(text)
        self.entries += len(entries)

    def close(self) -> None:
        if self._file is None:
            open(self._path, "wb").close()
        else:
            self._file.close()
