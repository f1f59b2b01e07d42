"""Keeps the record of a run while it goes on: who makes it, how far it is every few seconds, and
how it ended.

The stages count and list; here is looked at that a few times a minute, and written in one
statement. A database that cannot be told does not end the run: what it cannot be told of the
progress is told the next time, and if it is gone, the sync will notice by itself.
"""

import asyncio
import logging
import os
import pwd
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Final

import msgspec

from flowsync.catalog.records.run_records import RunKey, Runs
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.errors import CatalogError
from flowsync.model.reports import RunTerms
from flowsync.model.repository import LeftOut, RunState, SyncResult
from flowsync.pipeline.progress import Progress

_log = logging.getLogger(__name__)

INTERVAL: Final = 5.0
"""Seconds between two records of a run's progress: one small statement each."""


class Recording:
    """The record of one run. It is there from `start` on; before that, `finish` has nothing to
    write to.

    `left_out` is the list that the run's stages fill; it only grows.
    """

    def __init__(
        self,
        runs: Runs,
        progress: Progress,
        left_out: Sequence[LeftOut],
        interval: float = INTERVAL,
    ) -> None:
        self.key: RunKey | None = None
        self._runs = runs
        self._progress = progress
        self._left_out = left_out
        self._interval = interval
        self._recorded = 0

    async def start(self, version: NewVersion, terms: RunTerms) -> None:
        """Record that the run begins, and let the version that it makes name it."""
        self.key = await self._runs.start(version, actor(), terms)
        version.info["run"] = self.key.number

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Record the progress while the block runs."""
        keeper = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])

    async def finish(self, state: RunState, result: SyncResult) -> None:
        """Record how the run ended. It is what it is, even if the database is gone and cannot be
        told.
        """
        if self.key is None:
            return
        facts = msgspec.to_builtins(result)
        # They have rows of their own.
        del facts["left_out"]
        with suppress(CatalogError):
            await self._runs.finish(
                self.key,
                state,
                self._progress.read(),
                self._left_out,
                self._recorded,
                result=facts,
                error=result.error,
            )

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self._advance()
            except CatalogError as error:
                _log.warning("the progress of a run could not be recorded: %s", error)

    async def _advance(self) -> None:
        assert self.key is not None
        count = len(self._left_out)
        await self._runs.advance(
            self.key, self._progress.read(), self._left_out[:count], self._recorded
        )
        self._recorded = count


def actor() -> str:
    """Return who makes runs here: the user, the machine and the process."""
    return f"{_user(os.geteuid())}@{socket.gethostname()}, process {os.getpid()}"


@cache
def _user(number: int) -> str:
    # Where users are looked up over the network, the loop stands still meanwhile: once a process is
    # enough.
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
