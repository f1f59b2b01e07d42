"""A blob store in memory, whose blobs are no files: for tests of what must work with any store.

1. It keeps all promises of `flowsync.store.port` except the first half of the second: what it holds
   goes with its process.
2. It belongs to one process and one event loop. Staging lies in the folder that it is given.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from itertools import count
from types import TracebackType
from typing import Self
from uuid import UUID

import msgspec
from blake3 import blake3

from flowsync.errors import BlobMissingError, StoreError
from flowsync.model.artifact import StagedArtifact
from flowsync.runtime.tasks import in_thread
from flowsync.store.durability import store_errors
from flowsync.store.port import LARGEST_CHUNK, BlobReader, BlobState, StoreUsage
from flowsync.store.staging import StagingArea


class MemoryBlobStore:
    """A `BlobStore` in memory; open it with `async with MemoryBlobStore(folder) as store`.

    `folder` is where it stages. The blobs last as long as the object, also when it was closed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._staging = StagingArea(os.path.abspath(folder))
        self._blobs: dict[str, _Blob] = {}
        self._aside: dict[str, _Blob] = {}
        self._identity: UUID | None = None
        self._door = _Door()
        self._numbers = count()

    async def __aenter__(self) -> Self:
        with store_errors(f"opening the staging folder {self._staging.parent}"):
            await in_thread(self._staging.tidy)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave everything as it is: there is nothing to close."""

    @property
    def name(self) -> str:
        """See `BlobStore.name`."""
        return f"in memory, staging in {self._staging.parent}"

    @property
    def identity_place(self) -> str:
        """See `BlobStore.identity_place`."""
        return "the store by `set_identity`"

    async def identity(self) -> UUID | None:
        """See `BlobStore.identity`."""
        return self._identity

    async def set_identity(self, identity: UUID) -> None:
        """See `BlobStore.set_identity`."""
        self._identity = identity

    async def persist(self, artifacts: Sequence[StagedArtifact]) -> None:
        """See `BlobStore.persist`. Raise `StoreError` also when a staged file lies outside of this
        store's staging folders, and when bytes are not those of their name.
        """
        for artifact in artifacts:
            self._check(artifact)
        for artifact in artifacts:
            await self._store(artifact)

    def local(self, blake3: str) -> None:
        """Return `None`: no blob is a file."""

    @asynccontextmanager
    async def reading(
        self, blake3: str, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[BlobReader]:
        """See `BlobStore.reading`. The reader keeps the bytes whatever becomes of the blob."""
        found = self._blobs.get(blake3)
        if found is None:
            raise BlobMissingError(f"reading blob {blake3}: there is none {self.name}")
        body = found.body
        async with aclosing(_chunks(body[start : len(body) if stop is None else stop])) as chunks:
            yield BlobReader(len(body), chunks)

    async def missing(self, names: Sequence[str]) -> set[str]:
        """See `BlobStore.missing`."""
        return {name for name in names if name not in self._blobs}

    async def usage(self) -> StoreUsage:
        """See `BlobStore.usage`."""
        return StoreUsage(len(self._blobs), sum(len(blob.body) for blob in self._blobs.values()))

    def staging(self) -> AbstractAsyncContextManager[str]:
        """See `BlobStore.staging`."""
        return self._staging.folder()

    def storing(self) -> AbstractAsyncContextManager[None]:
        """See `BlobStore.storing`."""
        return self._door.storing()

    def removing(self) -> AbstractAsyncContextManager[None]:
        """See `BlobStore.removing`."""
        return self._door.removing()

    async def states(self, names: Sequence[str]) -> list[BlobState | None]:
        """See `BlobStore.states`."""
        return [self._state(name) for name in names]

    async def names(self, batch_size: int) -> AsyncGenerator[list[str], None]:
        """See `BlobStore.names`."""
        names = list(self._blobs)
        for start in range(0, len(names), batch_size):
            yield names[start : start + batch_size]

    async def remove(self, names: Sequence[str]) -> dict[str, str]:
        """See `BlobStore.remove`."""
        for name in names:
            self._blobs.pop(name, None)
        return {}

    async def quarantine(self, names: Sequence[str]) -> dict[str, str]:
        """See `BlobStore.quarantine`."""
        for name in names:
            if name in self._blobs:
                self._aside[name] = self._blobs.pop(name)
        return {}

    async def restore(self, names: Sequence[str]) -> set[str]:
        """See `BlobStore.restore`."""
        async with self.removing():
            right = {
                name
                for name in names
                if name in self._aside and _digest(self._aside[name].body) == name
            }
            for name in right:
                self._blobs[name] = self._aside.pop(name)
            return right

    async def release(self, names: Sequence[str]) -> None:
        """See `BlobStore.release`."""
        for name in names:
            self._aside.pop(name, None)

    async def dead_staging(self, *, remove: bool) -> StoreUsage:
        """See `BlobStore.dead_staging`."""
        return await self._staging.dead(remove=remove)

    def damage(self, name: str, body: bytes) -> None:
        """Replace the bytes of a blob by others, as a failing medium would."""
        self._put(name, body)

    def lose(self, name: str) -> None:
        """Lose a blob, as a failing medium would."""
        del self._blobs[name]

    def _check(self, artifact: StagedArtifact) -> None:
        if artifact.blake3 is None:
            raise StoreError(
                f"an artifact of {artifact.size} bytes cannot be stored: its BLAKE3 is not known"
            )
        if artifact.body is not None:
            return
        doing = f"blob {artifact.blake3} cannot be stored"
        if artifact.file is None:
            raise StoreError(f"{doing}: it has no bytes at hand")
        if not artifact.file.startswith(f"{self._staging.parent}/"):
            raise StoreError(f"{doing}: {artifact.file} is not below {self._staging.parent}")

    async def _store(self, artifact: StagedArtifact) -> None:
        name = str(artifact.blake3)
        found = self._blobs.get(name)
        is_right = found is not None and _digest(found.body) == name
        if artifact.file is None or artifact.body is not None:
            body = artifact.body
        else:
            body = await in_thread(_read, artifact.file)
        if not is_right:
            if body is None:
                raise StoreError(f"storing blob {name}: No such file or directory: {artifact.file}")
            if _digest(body) != name:
                raise StoreError(f"storing blob {name}: its bytes have blake3 {_digest(body)}")
            self._put(name, body)
        if artifact.file is not None:
            await in_thread(_unlink, artifact.file)

    def _put(self, name: str, body: bytes) -> None:
        self._blobs[name] = _Blob(body, time.time(), next(self._numbers))

    def _state(self, name: str) -> BlobState | None:
        found = self._blobs.get(name)
        if found is None:
            return None
        return BlobState(len(found.body), found.written, (found.number,))


class _Blob(msgspec.Struct, frozen=True):
    """The bytes of a blob, when they were written, and a number that no other bytes have."""

    body: bytes
    written: float
    number: int


class _Door:
    """Lets in any number that store, or one that removes, which waits for those inside only."""

    def __init__(self) -> None:
        self._turnstile = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def storing(self) -> AsyncIterator[None]:
        async with self._turnstile:
            self._inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if self._inside == 0:
                self._empty.set()

    @asynccontextmanager
    async def removing(self) -> AsyncIterator[None]:
        async with self._turnstile:
            await self._empty.wait()
            yield


async def _chunks(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), LARGEST_CHUNK):
        yield body[start : start + LARGEST_CHUNK]


def _digest(body: bytes) -> str:
    return blake3(body).hexdigest()


def _read(path: str) -> bytes | None:
    with store_errors(f"reading {path}"):
        try:
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
