"""Lets blocking code in a thread read a version from the catalog, which only the loop can ask.

1. The thread asks for a batch and waits; one task of the loop answers all that a job asks, so that
   a cursor is opened, read and closed by one task.
2. A job ends soon after its task is cancelled: the next batch that it asks for is an error to it.
   The task waits for that.
3. Cursors that the job leaves open are closed when it ends.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from flowsync.catalog.queries.served_paths import ServedVersion
from flowsync.catalog.queries.version_units import UnitRow, VersionUnits
from flowsync.layout import UnitFile, VersionFile, VersionUnit
from flowsync.model.content import Content, decode_fields

C = TypeVar("C", bound=Content)
R = TypeVar("R")

_Rows = AsyncGenerator[list[UnitRow], None]


class ReadingStoppedError(Exception):
    """What reads a version is to end: the server closes, or the one who waits for it has gone."""


class _Ask(msgspec.Struct, eq=False):
    """A job's wish: the next rows of a cursor, which are none at its end, or its closing."""

    rows: _Rows
    closing: bool = False
    answer: "Future[list[UnitRow]]" = msgspec.field(default_factory=Future)


class ThreadReader:
    """A version as a job in a thread reads it; see `VersionReader`.

    `was_read` says that it had a unit of what was asked for, `complete` that size and digest of
    each file were known.
    """

    def __init__(
        self,
        version: ServedVersion,
        open_rows: Callable[..., _Rows],
        ask: Callable[[_Ask], list[UnitRow]],
    ) -> None:
        self.was_read = False
        self.complete = True
        self._version = version
        self._open_rows = open_rows
        self._ask = ask
        self._loop_thread = threading.get_ident()

    @property
    def repository(self) -> str:
        return self._version.name

    @property
    def number(self) -> int:
        return self._version.number

    @property
    def created(self) -> datetime:
        return self._version.created

    @property
    def present(self) -> int:
        return self._version.present

    def units(
        self,
        content_type: type[C],
        *,
        group: Sequence[Any] | None = None,
        with_files: bool = True,
    ) -> Iterator[VersionUnit[C]]:
        rows = self._rows(content_type, group, by_path=False, with_files=with_files)
        for _, of_unit in groupby(rows, key=attrgetter("content_id")):
            first, *others = of_unit
            content = decode_fields(content_type, first.fields.encode())
            files = tuple(_file(row) for row in (first, *others) if row.relative_path is not None)
            yield VersionUnit(content=content, files=files)

    def files(
        self, content_type: type[C], *, group: Sequence[Any] | None = None
    ) -> Iterator[VersionFile[C]]:
        for row in self._rows(content_type, group, by_path=True):
            yield VersionFile(
                content=decode_fields(content_type, row.fields.encode()),
                relative_path=str(row.relative_path),
                sha256=row.sha256,
                size=row.size,
            )

    def _rows(
        self,
        content_type: type[Content],
        group: Sequence[Any] | None,
        *,
        by_path: bool,
        with_files: bool = True,
    ) -> Iterator[UnitRow]:
        rows = self._open_rows(
            self._version, content_type, group, by_path=by_path, with_files=with_files
        )
        try:
            while batch := self._ask(_Ask(rows)):
                self.was_read = True
                for row in batch:
                    known = row.size is not None and row.sha256 is not None
                    self.complete = self.complete and (known or row.relative_path is None)
                    yield row
        except GeneratorExit:
            # Left early, or forgotten and collected. The loop's own thread must not wait for the
            # loop; it closes at the end what is open then.
            if threading.get_ident() != self._loop_thread:
                with suppress(ReadingStoppedError):
                    self._ask(_Ask(rows, closing=True))
            raise


class VersionReading:
    """One job that reads one version. Used once."""

    def __init__(self, units: VersionUnits, version: ServedVersion) -> None:
        self.reader = ThreadReader(version, units.rows, self._asked_in_thread)
        self._loop = asyncio.get_running_loop()
        self._wishes: asyncio.Queue[_Ask | None] = asyncio.Queue()
        self._open: list[_Rows] = []
        self._ended = False

    async def run(self, executor: Executor, job: Callable[[ThreadReader], R]) -> R:
        """Run the job in a thread and return its result; when cancelled, wait until it has
        ended.
        """
        future = self._loop.run_in_executor(executor, job, self.reader)
        future.add_done_callback(lambda _: self._wishes.put_nowait(None))
        try:
            while (wish := await self._wishes.get()) is not None:
                await self._fulfil(wish)
        finally:
            self._end()
            while not future.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait((future,))
            for rows in self._open:
                await rows.aclose()
            if not future.cancelled():
                # Of a job that was stopped nothing else asks.
                future.exception()
        return future.result()

    def _asked_in_thread(self, wish: _Ask) -> list[UnitRow]:
        try:
            self._loop.call_soon_threadsafe(self._take, wish)
        except RuntimeError as error:
            raise ReadingStoppedError from error
        return wish.answer.result()

    def _take(self, wish: _Ask) -> None:
        if self._ended:
            wish.answer.set_exception(ReadingStoppedError())
        else:
            self._wishes.put_nowait(wish)

    async def _fulfil(self, wish: _Ask) -> None:
        try:
            if wish.rows not in self._open:
                self._open.append(wish.rows)
            batch = [] if wish.closing else await anext(wish.rows, [])
            if not batch:
                await wish.rows.aclose()
                self._open.remove(wish.rows)
            wish.answer.set_result(batch)
        except asyncio.CancelledError:
            wish.answer.set_exception(ReadingStoppedError())
            raise
        except Exception as error:  # noqa: BLE001 - it is the job's to raise
            wish.answer.set_exception(error)

    def _end(self) -> None:
        self._ended = True
        while not self._wishes.empty():
            wish = self._wishes.get_nowait()
            if wish is not None:
                wish.answer.set_exception(ReadingStoppedError())


def _file(row: UnitRow) -> UnitFile:
    return UnitFile(relative_path=str(row.relative_path), sha256=row.sha256, size=row.size)
