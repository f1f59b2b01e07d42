"""Folders and holders for the tests of the embedded server. None of them may leave a process behind."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowsync.catalog.embedded import EmbeddedPostgres
from tests.integration.catalog_embedded.processes import Holder, servers_of


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a cluster that was made once, started once and stopped: copying it takes a tenth of making one."""
    folder = tmp_path_factory.mktemp("prepared") / "database"
    server = EmbeddedPostgres(folder)
    server.start()
    assert server.stop()
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield an empty folder, closed to other users; afterwards no server may run below it."""
    yield tmp_path
    left = servers_of(tmp_path)
    for pid in left:
        os.kill(pid, signal.SIGQUIT)
    assert left == []


@pytest.fixture
def database(home: Path, prepared: Path) -> Path:
    """Return a folder with a cluster in it, stopped."""
    return copy_prepared(prepared, home / "database")


@pytest.fixture(scope="module")
def open_home() -> Iterator[Path]:
    """Yield an empty folder that every user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="flowsync-test-"))
    folder.chmod(0o755)
    yield folder
    left = servers_of(folder)
    for pid in left:
        os.kill(pid, signal.SIGQUIT)
    shutil.rmtree(folder)
    assert left == []


@pytest.fixture
def hold() -> Iterator[Callable[..., Holder]]:
    """Start holders in processes of their own; those that still live afterwards are killed."""
    holders: list[Holder] = []

    def start(folder: Path, **how: object) -> Holder:
        holders.append(Holder(folder, **how))  # type: ignore[arg-type]
        return holders[-1]

    yield start
    for holder in holders:
        if holder.process.poll() is None:
            holder.kill()


def copy_prepared(prepared: Path, folder: Path) -> Path:
    """Copy the cluster and nothing else: locks and log belong to the folder."""
    folder.mkdir(parents=True)
    for cluster in prepared.glob("pg*"):
        shutil.copytree(cluster, folder / cluster.name)
    return folder
