"""Staging folders: where bytes live before they have a name.

1. A run has one staging folder, `<parent>/<unique>/`, and holds the lock `<parent>/<unique>.lock`
   as long as it lives.
2. The lock is taken before the folder is made and removed after the folder is gone; so a folder
   whose lock can be had is of the dead, and a folder without one does not occur.
3. Only the dead are tidied away, by whoever opens the store next.
4. What a run has not stored goes with its folder, except large bodies that are whole
   (`flowsync.store.partials`).

The lock is a file beside the folder, not the folder itself, because network file systems lock only
what is open for writing.
"""

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from typing import Final

from flowsync.runtime.threads import in_thread
from flowsync.store.durability import make_folder
from flowsync.store.failures import store_errors
from flowsync.store.file_locks import claim
from flowsync.store.partials import remove_old, rescue
from flowsync.store.port import StoreUsage

_LOCK: Final = ".lock"


class StagingArea:
    """All staging folders of one store, below `parent`. Any number of tasks and processes may use
    it at once. Stores of any kind keep one.
    """

    def __init__(self, parent: str) -> None:
        self.parent = parent

    def tidy(self) -> None:
        """Make the area if it is not there, and remove what the dead left and old partials. It
        blocks, and raises `OSError`.
        """
        make_folder(self.parent)
        remove_dead(self.parent)
        remove_old(self.parent)

    def held_folder(self) -> AbstractContextManager[str]:
        """Give a folder as `folder` does, to a thread."""
        # The area may have been removed since the store was opened.
        make_folder(self.parent)
        return staging_folder(self.parent)

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[str]:
        """Give a run its folder, as `BlobStore.staging` says."""
        held = ExitStack()
        try:
            with store_errors(f"making a staging folder in {self.parent}"):
                folder = await in_thread(lambda: held.enter_context(self.held_folder()))
            yield folder
        finally:
            await in_thread(held.close)

    async def dead(self, *, remove: bool) -> StoreUsage:
        """Count what the dead left, and perhaps remove it, as `BlobStore.dead_staging` says."""
        with store_errors(f"tidying up {self.parent}"):
            return await in_thread(lambda: dead_usage(self.parent, remove=remove))


@contextmanager
def staging_folder(parent: str) -> Iterator[str]:
    """Give a new private folder below `parent` and hold its lock; remove it with all that is left
    in it but whole bodies.
    """
    folder, lock = _claim_new(parent)
    try:
        os.mkdir(folder, 0o700)
        yield folder
    finally:
        _discard(folder, lock)


def remove_dead(parent: str) -> None:
    """Remove the staging folders below `parent` that no living process holds."""
    for path in _locks(parent):
        lock = claim(path)
        if lock is not None:
            _discard(path.removesuffix(_LOCK), lock)


def dead_usage(parent: str, *, remove: bool) -> StoreUsage:
    """Count the folders below `parent` that no living process holds and the bytes in them, and
    perhaps remove them.
    """
    folders = size = 0
    for path in _locks(parent):
        lock = claim(path)
        if lock is None:
            continue
        folder = path.removesuffix(_LOCK)
        folders += 1
        size += _size(folder)
        if remove:
            _discard(folder, lock)
        else:
            os.close(lock)
    return StoreUsage(folders, size)


def _locks(parent: str) -> list[str]:
    with os.scandir(parent) as entries:
        return [entry.path for entry in entries if entry.name.endswith(_LOCK)]


def _size(folder: str) -> int:
    return sum(
        os.lstat(os.path.join(parent, name)).st_size
        for parent, _, names in os.walk(folder)
        for name in names
    )


def _claim_new(parent: str) -> tuple[str, int]:
    # Someone who tidies may get the lock between its creation and our claim. Then this one is
    # theirs; take another.
    while True:
        folder = f"{parent}/{secrets.token_hex(8)}"
        lock = claim(folder + _LOCK, os.O_CREAT | os.O_EXCL)
        if lock is not None:
            return folder, lock


def _discard(folder: str, lock: int) -> None:
    try:
        rescue(folder)
        shutil.rmtree(folder, ignore_errors=True)
        # What could not be removed keeps its lock file, and is tried again by the next who tidies.
        if not os.path.lexists(folder):
            with suppress(FileNotFoundError):
                os.unlink(folder + _LOCK)
    finally:
        os.close(lock)
