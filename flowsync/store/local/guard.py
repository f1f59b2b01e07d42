"""The lock between those who store and record blobs and those who remove them.

1. Any number may store and record at once, in any number of processes; whoever removes is alone.
2. Whoever stores holds the lock from before it looks which blobs are there until they are recorded.
   So whoever removes knows that each blob is either recorded or of no use to anybody.
3. Removing is never starved: who wants to remove stops the turnstile that everybody passes on the
   way in, and waits only for those inside.
4. The kernel gives the lock of a killed process back.

Decisions: docs/decisions/0010.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from flowsync.runtime.threads import in_thread
from flowsync.store.failures import store_errors
from flowsync.store.partials import lock

_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.02
"""Seconds between two tries to get in: a batch of removals takes some tens of milliseconds."""


class Guard:
    """The two lock files in `folder`. Any number of tasks and threads may use it at once; each time
    it is held is on its own.
    """

    def __init__(self, folder: str) -> None:
        self._turnstile = f"{folder}/turnstile.lock"
        self._room = f"{folder}/blobs.lock"

    @asynccontextmanager
    async def storing(self) -> AsyncIterator[None]:
        """Keep removers out while the block runs. Whoever is inside must not ask for `removing`."""
        turnstile, room = _Lock(self._turnstile), _Lock(self._room)
        try:
            await _wait_for(_enter, turnstile, room)
            yield
        finally:
            await in_thread(_release, turnstile, room)

    @asynccontextmanager
    async def removing(self) -> AsyncIterator[None]:
        """Be alone while the block runs."""
        turnstile, room = _Lock(self._turnstile), _Lock(self._room)
        try:
            await _wait_for(turnstile.take, fcntl.LOCK_EX)
            await _wait_for(room.take, fcntl.LOCK_EX)
            yield
        finally:
            await in_thread(_release, turnstile, room)


class _Lock:
    """One hold on a lock file. Its methods run in threads, one at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self, kind: int) -> bool:
        """Take the lock if it can be had at once."""
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return lock(self._fd, kind, self._path)

    def release(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            # Unlocked, not only closed: a child that was forked meanwhile has the descriptor too.
            try:
                fcntl.flock(fd, fcntl.LOCK_UN)
            finally:
                os.close(fd)


def _enter(turnstile: _Lock, room: _Lock) -> bool:
    if not turnstile.take(fcntl.LOCK_SH):
        return False
    entered = room.take(fcntl.LOCK_SH)
    turnstile.release()
    return entered


def _release(*locks: _Lock) -> None:
    for each in locks:
        each.release()


async def _wait_for(take: Callable[..., bool], *arguments: object) -> None:
    pause = _FIRST_PAUSE
    with store_errors("locking the store"):
        while not await in_thread(take, *arguments):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
