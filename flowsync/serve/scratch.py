"""The private folder of a server, for what it is bringing or has made. One that was removed while
the server runs is replaced by another.
"""

import os
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from flowsync.runtime.tasks import in_thread
from flowsync.store.port import BlobStore


class Scratch:
    """A staging folder of a store for as long as the server lives. Any number of tasks may use it
    at once.
    """

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._held = AsyncExitStack()
        self._folder: str

    async def __aenter__(self) -> Self:
        self._folder = await self._held.enter_async_context(self._store.staging())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._held.aclose()

    async def folder(self) -> str:
        """Return the folder, which is there. Raise `StoreError` when none can be made."""
        if not await in_thread(os.path.isdir, self._folder):
            self._folder = await self._held.enter_async_context(self._store.staging())
        return self._folder
