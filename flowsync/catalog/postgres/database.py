"""The database: a pool of connections, sessions beside it (`sessions.py`), and the place where what
psycopg says of statements becomes our errors.

1. Statements run by name (`statement`), prepared on their third use on a connection, with
   binary results.
2. `fetch`, `fetch_one` and `execute` take a pooled connection for one statement, which is one round
   trip. They do it again where that may help (`repeated`), so what they run must come to the
   same when it is run twice. `transaction` holds a connection for several statements; `dedicated`
   lends one outside the pool, for what lives and dies with its session: advisory locks, temporary
   tables.
3. No text of ours ever holds a password: the server is named by host, port and database only.
4. When a connection turns out to be lost, the idle ones are checked before the error is raised, so
   that one restart of the server fails the work at hand and not the work after it. A server that is
   gone is another error than a connection that is: what is done again would only wait for it.

Decisions: docs/decisions/0002.

Also here: the named statements, batches as columns, what is done again, and cursors of the server.
Each statement goes through all of them.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncCursor, AsyncServerCursor
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from flowsync.catalog.postgres.schema import LockClasses, StoreBinding, lock_classes, migrate
from flowsync.catalog.postgres.sessions import (
    ASKED,
    DROP_TABLES,
    Connection,
    Sessions,
    configure_pooled,
    described,
    expect_fitting,
    parsed,
    said,
    shown,
)
from flowsync.errors import (
    CatalogConflictError,
    CatalogError,
    CatalogUnavailableError,
    ConnectionLostError,
    EngineClosedError,
)
from flowsync.model.artifact import Artifact
from flowsync.runtime.tasks import Visits, finished

# The SQL of the catalog: named statements, kept in the `.sql` files of the folder `statements`.
#
# A file holds statements of one subject. Each begins with a line `-- name: find_artifacts`, goes on
# with comment lines that say what it does, and ends with a semicolon. The names are unique across
# files. Parameters are written `%(name)s`; where a measurement preferred one wire format,
# `%(name)b` asks for binary and `%(name)t` for text.
#
# Statements come out as bytes without their comments: short texts are what psycopg caches the
# translation of.

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^\s*--.*$\n?", re.MULTILINE)


def statement(name: str) -> bytes:
    """Return the SQL of a named statement. Raise `CatalogError` when no file holds it."""
    try:
        return _load()[name]
    except KeyError:
        raise CatalogError(f"the catalog has no statement named {name!r}") from None


def statement_names() -> list[str]:
    """Return the names of all statements, sorted."""
    return sorted(_load())


def split_statements(source: str, text: str) -> dict[str, bytes]:
    """Return the statements of one file by name. Raise `CatalogError` when a name comes twice, or
    SQL before the first name.
    """
    head, *rest = _NAME.split(text)
    if _COMMENT.sub("", head).strip():
        raise CatalogError(f"{source}: SQL before the first '-- name:' line")
    found: dict[str, bytes] = {}
    for name, body in zip(rest[::2], rest[1::2], strict=True):
        if name in found:
            raise CatalogError(f"{source}: a second statement is named {name!r}")
        found[name] = _COMMENT.sub("", body).strip().removesuffix(";").encode()
    return found


@cache
def _load() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in files("flowsync.catalog").joinpath("statements").iterdir():
        if file.name.endswith(".sql"):
            statements = split_statements(file.name, file.read_text(encoding="utf-8"))
            repeated = found.keys() & statements.keys()
            if repeated:
                raise CatalogError(f"{file.name}: {min(repeated)!r} is named in another file too")
            found |= statements
    return found


# Batches as columns: what `unnest` makes rows of.
#
# A column of nothing but NULL is sent empty, because `unnest` fills short columns up: most
# upstreams declare one digest of six, and the driver and the server handle every element of what is
# sent.

V = TypeVar("V")


def column(values: Iterable[V | None]) -> list[V | None]:
    """Return the values; none when all are `None`. At least one column of a batch must be whole."""
    found = list(values)
    return [] if found.count(None) == len(found) else found


def digest_columns(
    artifacts: Sequence[Artifact], algorithms: Iterable[str]
) -> dict[str, list[bytes | None]]:
    """Return the digests of a batch as bytes, a column an algorithm."""
    columns = {}
    for algorithm in algorithms:
        values = column(getattr(artifact, algorithm) for artifact in artifacts)
        columns[algorithm] = [None if value is None else bytes.fromhex(value) for value in values]
    return columns


# What is done again when it met another transaction, or its connection broke.
#
# 1. A deadlock or a serialisation failure ends one of those that met: nothing of it was done, and
#    the other goes on. It is done again a few times, each time after a random wait, so that the
#    same ones do not meet again.
# 2. A connection that breaks leaves open whether the work was done. It is done again once: the pool
#    has looked at its connections by then, and one that breaks twice is worth an error.
# 3. So only what may be done twice is given to `repeated`: work whose second run finds or leaves
#    the same rows as its first, and gives the same answer. Nothing in a session of its own is
#    repeated (`Database.dedicated`): its locks and temporary tables went with the connection.

T = TypeVar("T")

_ATTEMPTS: Final = 4
"""How often one work may meet others before that is an error."""

_WAIT: Final = 0.05
"""Seconds that the first wait takes at most; each next one may take twice as long."""


async def repeated(work: Callable[[], Awaitable[T]]) -> T:
    """Do `work` and return what it returns; do it again where that may help. Otherwise raise what
    it raises.
    """
    conflicts = losses = 0
    while True:
        try:
            return await work()
        except CatalogConflictError:
            if conflicts == _ATTEMPTS:
                raise
            await asyncio.sleep(random.uniform(0, _WAIT * 2**conflicts))  # noqa: S311 - no secret
            conflicts += 1
        except ConnectionLostError:
            if losses:
                raise
            losses += 1


_FATAL: Final = frozenset({"FATAL", "PANIC"})
"""Severities of an error with which the server ends the session, whatever the reason: a shutdown, a
crash, a session that was idle for too long.
"""

_CONFLICTS: Final = frozenset({"40001", "40P01"})
"""SQLSTATEs of a transaction that was rolled back for the sake of another: serialisation failure,
deadlock.
"""


class Database:
    """A PostgreSQL database with the catalog's schema. Made by the engine, lives as long as it; any
    number of tasks of one loop may use it.

    `conninfo` is a URL or `key=value` text, and `shown` what of it may be shown; `timeout`
    (seconds) bounds connecting, and waiting for a free connection of the pool. `locks` and
    `binding` are known once it is open. `round_trips` counts what was sent to the server, for
    benches.
    """

    def __init__(self, conninfo: str, *, max_connections: int = 8, timeout: float = 30.0) -> None:
        settings = parsed(conninfo)
        self.name = described(settings)
        self.shown = shown(conninfo)
        self.binding: StoreBinding
        self.locks: LockClasses
        self.round_trips = 0
        self._timeout = timeout
        self._conninfo = make_conninfo(**{**ASKED, **settings, "client_encoding": "UTF8"})
        self._max_connections = max_connections
        self._sessions = Sessions(self._conninfo, self.name, timeout)
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._visits = self._new_visits()

    async def open(self) -> None:
        """Connect, migrate the schema and open the pool.

        Raise `CatalogUnavailableError` when the server refuses, does not answer or takes no writes,
        `UnfitDatabaseError` when the database cannot hold a catalog, `SchemaTooNewError` when a
        newer flowsync migrated it.
        """
        self._visits = self._new_visits()
        try:
            async with self.dedicated() as connection:
                expect_fitting(connection.info, self.name)
                await migrate(connection)
                row = await (await connection.execute(statement("identity"))).fetchone()
                self.binding = _binding(row, self.name)
                self.locks = lock_classes(self.binding.catalog)
        except BaseException:
            await self.close()
            raise
        self._pool = AsyncConnectionPool(
            self._conninfo,
            kwargs={"autocommit": True},
            configure=configure_pooled,
            min_size=1,
            max_size=self._max_connections,
            timeout=self._timeout,
            name="flowsync",
            open=False,
        )
        await self._pool.open()

    async def close(self) -> None:
        """Close the connections. What waits for one, or for the server, ends with an
        `EngineClosedError`.
        """
        await self._visits.close()
        await self._sessions.close()
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    def leave_open(self, task: asyncio.Task[Any] | None) -> None:
        """Take note that `task`, which is about to close it, has no work of its own here to be
        ended.
        """
        self._visits.forget(task)

    def _new_visits(self) -> Visits:
        return Visits(lambda: EngineClosedError(f"{self.name} was closed by its engine"))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a pooled connection in autocommit mode. Raise `EngineClosedError` once the database
        was closed.
        """
        with self._visits.visit():
            async with self._pooled() as connection:
                yield connection

    @asynccontextmanager
    async def _pooled(self) -> AsyncIterator[Connection]:
        if self._pool is None:
            raise CatalogError(f"{self.name} is not open")
        asked = _cancellations()
        try:
            async with self._pool.connection() as connection:
                if _cancellations() > asked:
                    raise asyncio.CancelledError
                yield connection
        except PoolTimeout as error:
            raise CatalogUnavailableError(
                f"{self.name}: no connection of {self._max_connections} became free "
                f"within {self._timeout:g} s"
            ) from error
        except psycopg.Error as error:
            failure = self._translate(error)
            if isinstance(failure, ConnectionLostError):
                await self._look_after_loss(self._pool)
            raise failure from error
        except ConnectionLostError:
            await self._look_after_loss(self._pool)
            raise

    async def _look_after_loss(self, pool: AsyncConnectionPool[Connection]) -> None:
        """Return when the server answers and the pool has no broken connection left. Otherwise
        raise `CatalogUnavailableError`: what is done again would wait for a connection as long as
        it may.
        """
        async with self.dedicated():
            await pool.check()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a pooled connection inside one transaction: committed at the end, rolled back when
        an exception leaves the block.
        """
        self.round_trips += 2
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def dedicated(
        self, *beginning: str, leaving: str | None = None
    ) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit mode outside the pool; its session holds nothing before,
        and nothing that it holds outlasts the block.

        The named statements of its `beginning`, and that of its `leaving`, take no parameters and
        cost no round trip of their own. The latter empties temporary tables that are to stay;
        otherwise they are dropped.
        """
        begin = b";".join(map(statement, beginning))
        leave = DROP_TABLES if leaving is None else statement(leaving)
        with self._visits.visit():
            async with self._sessions.lent(begin, leave) as connection:
                try:
                    yield connection
                except psycopg.Error as error:
                    raise self._translate(error) from error

    async def size(self) -> int:
        """Return how many bytes the database takes on its server's disk."""
        ((size,),) = await self.fetch("database_size")
        return int(size)

    async def fetch(self, name: str, params: Mapping[str, Any] = {}) -> list[tuple[Any, ...]]:
        """Run a named statement, which may run twice, and return all its rows."""

        async def once() -> list[tuple[Any, ...]]:
            async with self.connection() as connection:
                return await (await self.run(connection, name, params)).fetchall()

        return await repeated(once)

    async def fetch_one(self, name: str, params: Mapping[str, Any] = {}) -> tuple[Any, ...] | None:
        """Run a named statement, which may run twice, and return its first row, if any."""
        rows = await self.fetch(name, params)
        return rows[0] if rows else None

    async def execute(self, name: str, params: Mapping[str, Any] = {}) -> int:
        """Run a named statement, which may run twice, and return how many rows it touched."""

        async def once() -> int:
            async with self.connection() as connection:
                return (await self.run(connection, name, params)).rowcount

        return await repeated(once)

    async def run(
        self, connection: Connection, name: str, params: Mapping[str, Any] = {}
    ) -> AsyncCursor[tuple[Any, ...]]:
        """Run a named statement on a connection lent by this database and return the cursor. The
        error names the statement.
        """
        self.round_trips += 1
        try:
            return await connection.execute(statement(name), params, binary=True)
        except psycopg.Error as error:
            raise self._translate(error, name) from error
        except UnicodeEncodeError as error:
            raise CatalogError(
                f"{self.name}, statement {name}: a text holds a lone surrogate, which is no valid "
                "Unicode"
            ) from error

    def _translate(self, error: psycopg.Error, name: str | None = None) -> CatalogError:
        doing = self.name if name is None else f"{self.name}, statement {name}"
        state = error.sqlstate
        kind: type[CatalogError] = ConnectionLostError if _ends_session(error) else CatalogError
        if state in _CONFLICTS:
            kind = CatalogConflictError
        return kind(f"{doing}: {said(error)}")


def _binding(row: tuple[Any, ...] | None, name: str) -> StoreBinding:
    if row is None:
        raise CatalogError(f"{name}: the table catalog_identity is empty, so the catalog has no id")
    catalog, store = row
    return StoreBinding(catalog=catalog, store=store)


def _ends_session(error: psycopg.Error) -> bool:
    if error.diag.severity_nonlocalized in _FATAL:
        return True
    state = error.sqlstate
    broken = state is None or state.startswith("08")
    return broken and isinstance(error, psycopg.OperationalError)


def _cancellations() -> int:
    """Return how often the running task was asked to end.

    The pool waits with `asyncio.wait_for`, which in Python 3.11 forgets a cancellation that comes
    in the moment in which what it waits for is there: the task would go on, and what cancelled
    it would wait for ever.
    """
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


# Reading what may be large in batches, so that memory does not grow with it.


@asynccontextmanager
async def opened(
    connection: Connection, name: str, params: Mapping[str, Any]
) -> AsyncIterator[AsyncServerCursor[tuple[Any, ...]]]:
    """Open a server-side cursor on what a named statement gives, in the transaction that runs."""
    cursor = connection.cursor("rows", binary=True)
    try:
        await cursor.execute(statement(name), params)
        yield cursor
    finally:
        # A cursor whose closing is cancelled would stay open.
        await finished(asyncio.ensure_future(cursor.close()))


@asynccontextmanager
async def server_cursor(
    database: Database, name: str, params: Mapping[str, Any]
) -> AsyncIterator[AsyncServerCursor[tuple[Any, ...]]]:
    """Open a server-side cursor on a connection of its own: a consumer as slow as an export must
    not keep a pooled one.

    What it reads is what was committed when the block begins.
    """
    async with database.dedicated() as connection, connection.transaction():
        # All rows will be read; by default the planner would optimise for the first tenth.
        await connection.execute("SET LOCAL cursor_tuple_fraction = 1")
        async with opened(connection, name, params) as cursor:
            yield cursor
