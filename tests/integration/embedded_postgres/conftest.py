"""Folders and holders for the tests of the embedded server. None of them may leave a process
behind.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flowsync.embedded_postgres.server import EmbeddedPostgres
from tests.integration.embedded_postgres.processes import Holder, servers_of


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one cluster for all tests that do not care how it was made."""
    folder = tmp_path_factory.mktemp("prepared") / "database"
    server = EmbeddedPostgres(folder)
    server.start()
    assert server.stop()
    return server.data_folder


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield an empty folder, closed to other users; afterwards no server may run below it."""
    yield tmp_path
    expect_no_server(tmp_path)


@pytest.fixture
def database(home: Path, prepared: Path) -> Iterator[Path]:
    """Yield a folder with the prepared cluster in it, stopped."""
    with lend(prepared, home / "database") as folder:
        yield folder


@pytest.fixture(scope="module")
def open_home() -> Iterator[Path]:
    """Yield an empty folder that every user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="flowsync-test-"))
    folder.chmod(0o755)
    yield folder
    expect_no_server(folder)
    shutil.rmtree(folder)


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


@contextmanager
def lend(prepared: Path, folder: Path) -> Iterator[Path]:
    """Move the prepared cluster into a new folder, and back afterwards: a copy would write
    40 MB.
    """
    folder.mkdir(parents=True)
    place = folder / prepared.name
    prepared.rename(place)
    try:
        yield folder
        expect_no_server(folder)
    finally:
        place.rename(prepared)


def expect_no_server(folder: Path) -> None:
    """Fail when a server runs below the folder, and end it."""
    left = servers_of(folder)
    for pid in left:
        os.kill(pid, signal.SIGQUIT)
    assert left == []
