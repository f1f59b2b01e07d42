"""The PostgreSQL that tests and benches run on, and a fresh database for each.

The server is that of `FLOWSYNC_TEST_DATABASE_URL` (whose user may create databases), or else an
embedded one that all workers of a run share and the last one stops. A database is a copy of a
template that was migrated once a worker. A server whose data may be lost lies in memory where there
is room: hundreds of databases of 300 files each are made and dropped.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import uvloop
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from flowsync.catalog.postgres.database import Database
from flowsync.embedded_postgres.server import EmbeddedPostgres

RECKLESS = {"fsync": "off", "full_page_writes": "off"}
"""Settings of a server whose data may be lost with the machine: databases are made in half the
time.
"""


MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes that must be free in memory, and in the file system that lies there."""

IN_MEMORY = pytest.StashKey[str]()
"""The folder in memory of this run, in all its workers."""

LOCK = pytest.StashKey[int | None]()
"""The descriptor that holds the lock of that folder until the run ends, however it ends."""

PREFIX = "flowsync-tests-"


def take_memory(config: pytest.Config) -> None:
    """Make the folder in memory for this run, if there is room, and remove it at the run's end; a
    worker takes that of its run. What killed runs left is removed: a server that misses its folder
    ends by itself.
    """
    given = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[IN_MEMORY] = str(given.get(PREFIX, ""))
        return
    own = f"{PREFIX}{os.geteuid()}-"
    for left in MEMORY.glob(f"{own}*"):
        lock = _locked(left)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    folder = ""
    if _has_room():
        # Closed to other accounts, as pytest's own folders are: the same one runs the server.
        folder = tempfile.mkdtemp(prefix=own, dir=MEMORY)
        config.stash[LOCK] = _locked(Path(folder))
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    config.stash[IN_MEMORY] = folder


def _locked(folder: Path) -> int | None:
    """Return a descriptor of the folder with its lock, or `None` when a living run holds that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _has_room() -> bool:
    try:
        system = os.statvfs(MEMORY)
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return False
    (available,) = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return (
        os.access(MEMORY, os.W_OK)
        and system.f_bavail * system.f_frsize >= ROOM
        and available << 10 >= ROOM
    )


@contextmanager
def running_postgres(
    session: pytest.TempPathFactory, settings: Mapping[str, str], memory: str = ""
) -> Iterator[str]:
    """Yield the conninfo of a running server. Embedded servers of equal settings are one server, in
    all workers of a run. It lies in the folder in memory, if one is named.
    """
    given = os.environ.get("FLOWSYNC_TEST_DATABASE_URL")
    if given:
        yield given
        return
    worker = "PYTEST_XDIST_WORKER" in os.environ
    base = session.getbasetemp().parent if worker else session.getbasetemp()
    folder = Path(memory or base, "postgres-reckless" if settings else "postgres")
    server = EmbeddedPostgres(folder, settings=settings)
    server.start()
    try:
        yield server.conninfo()
    finally:
        # Another worker may be about to start it again; what workers leave goes with pytest's
        # temporary folders.
        if server.stop() and not worker:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[str]:
    """Give the conninfo of the server's own database, from which others are made."""
    memory = pytestconfig.stash.get(IN_MEMORY, "")
    with running_postgres(tmp_path_factory, RECKLESS, memory) as conninfo:
        yield conninfo


@contextmanager
def temporary_database(postgres: str, template: str = "template1") -> Iterator[str]:
    """Yield the name of a new database; drop it at the end, whoever is still connected."""
    name = f"flowsync_test_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(
            SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                Identifier(name), Identifier(template)
            )
        )
    try:
        yield name
    finally:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture(scope="session")
def migrated_template(postgres: str) -> Iterator[str]:
    """Give the name of a database with the newest schema and no rows."""

    async def migrate(conninfo: str) -> None:
        database = Database(conninfo)
        await database.open()
        await database.close()

    with temporary_database(postgres) as name:
        uvloop.run(migrate(make_conninfo(postgres, dbname=name)))
        yield name


@pytest.fixture
def empty_conninfo(postgres: str) -> Iterator[str]:
    """Give the conninfo of a new database without any schema."""
    with temporary_database(postgres) as name:
        yield make_conninfo(postgres, dbname=name)


@pytest.fixture
def conninfo(postgres: str, migrated_template: str) -> Iterator[str]:
    """Give the conninfo of a new, migrated database without rows."""
    with temporary_database(postgres, migrated_template) as name:
        yield make_conninfo(postgres, dbname=name)


@pytest.fixture
async def database(conninfo: str) -> AsyncIterator[Database]:
    """Give an open catalog database without rows."""
    database = Database(conninfo)
    await database.open()
    try:
        yield database
    finally:
        await database.close()
