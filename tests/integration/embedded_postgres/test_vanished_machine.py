"""A machine that vanishes while it holds a repository: the server gives the lock back within half a
minute or so.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from flowsync.embedded_postgres import postmaster
from flowsync.embedded_postgres.sockets import conninfo
from tests.integration.embedded_postgres.processes import REPOSITORY

SERVER, CLIENT = "198.18.77.1", "198.18.77.2"

SERVING = """
import sys
from pathlib import Path
from flowsync.embedded_postgres.server import EmbeddedPostgres

folder = Path(sys.argv[1])
settings = {"listen_addresses": sys.argv[2], "hba_file": sys.argv[3]}
server = EmbeddedPostgres(folder, settings=settings)
server.start(timeout=40.0)
print("ready", flush=True)
sys.stdin.read()
server.stop()
"""

HOLDING = """
import asyncio, sys
from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.repositories import Repositories
from flowsync.model.repository import Repository

async def main():
    database = Database(sys.argv[1])
    await database.open()
    async with Repositories(database).new_version(Repository(name="r")):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def networks() -> Iterator[tuple[str, str]]:
    """Give two networks of their own, joined by a cable: for the server and for the machine that
    vanishes.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root, with the program ip, makes networks for the test")
    names = (f"fs-server-{os.getpid()}", f"fs-client-{os.getpid()}")
    with ExitStack() as cleaning:
        for name in names:
            made = subprocess.run(
                ["ip", "netns", "add", name], capture_output=True, text=True, check=False
            )
            if made.returncode != 0:
                pytest.skip(f"no networks can be made here: {made.stderr.strip()}")
            cleaning.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
        ip(
            "-n",
            names[0],
            "link",
            "add",
            "cable",
            "type",
            "veth",
            "peer",
            "cable",
            "netns",
            names[1],
        )
        for name, address in zip(names, (SERVER, CLIENT), strict=True):
            ip("-n", name, "address", "add", f"{address}/30", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
        yield names


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no networks can be joined here: {done.stderr.strip()}")


def started(network: str, program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python program in a network and return it once it is ready."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", network, sys.executable, "-c", program, *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.timeout(120)
def test_lock_of_a_machine_that_vanished_is_free_within_half_a_minute(
    networks: tuple[str, str], database: Path, tmp_path: Path
) -> None:
    hba = tmp_path / "hba.conf"
    hba.write_text("local all all trust\nhost all all 198.18.77.0/30 trust\n")
    hba.chmod(0o644)
    serving = started(networks[0], SERVING, str(database), SERVER, str(hba))
    url = f"postgresql://postgres@{SERVER}:5432/postgres"
    holding = started(networks[1], HOLDING, url)
    try:
        local = conninfo(postmaster.socket_folder(database / "pg18"), "postgres")
        with psycopg.connect(local, autocommit=True) as watching:
            assert locks(watching) == 2
            ip("-n", networks[1], "link", "set", "cable", "down")
            vanished = time.monotonic()

            # The server keeps watch by itself; what is measured is when it gives up.
            while locks(watching):
                assert time.monotonic() - vanished < 60
                time.sleep(0.1)
            assert time.monotonic() - vanished < 40
    finally:
        holding.kill()
        holding.communicate()
        serving.communicate()


def locks(connection: psycopg.Connection) -> int:
    """Return how many advisory locks are held."""
    row = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
    assert row is not None
    return int(row[0])
