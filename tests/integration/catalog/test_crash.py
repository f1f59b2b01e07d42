"""What a crash of the database server leaves of versions."""

import os
import signal
from pathlib import Path

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.repositories import Repositories
from flowsync.embedded_postgres.server import EmbeddedPostgres
from flowsync.model.repository import Repository
from tests.integration.catalog.units import Shelf

SLOW_LOG = {"wal_writer_delay": "10s"}
"""Settings of a server that writes its log only when a commit asks for it."""


def crash(server: EmbeddedPostgres) -> None:
    """Make the server's processes quit at once, without writing anything."""
    pid = int((server.data_folder / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGQUIT)
    while server.is_running():
        pass


async def test_completed_version_survives_a_crash_with_all_its_content(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "database", settings=SLOW_LOG)
    server.start()
    try:
        database = Database(server.conninfo())
        await database.open()
        units = await Shelf(database).packages(*map(str, range(100)))
        async with Repositories(database).new_version(Repository(name="r")) as version:
            for unit in units:
                await version.add_content([unit])
        crash(server)
        await database.close()

        server.start()
        database = Database(server.conninfo())
        await database.open()
        found = [ids async for ids in Repositories(database).content_ids("r", 1)]
        await database.close()
    finally:
        server.stop()

    assert found == [sorted(units)]
