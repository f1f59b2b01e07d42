"""Folders whose names mean something to libpq, to PostgreSQL, to a shell or to an encoding."""

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from flowsync.embedded_postgres.server import EmbeddedPostgres
from flowsync.errors import EmbeddedPostgresError
from tests.integration.embedded_postgres.conftest import expect_no_server, lend

NAMES = [
    "a@b",
    "@at",
    "per%cent%41",
    "it's",
    '"quoted"',
    "a, b",
    "a:b",
    "back\\slash",
    "new\nline",
    "tab\t",
    "$HOME`id`",
    "a=b;c#d?e&f",
    "-dash",
    " space ",
    "ümlaut",
    "\udcff\udcfe",
    "l" * 200,
]


@pytest.mark.parametrize("name", NAMES)
def test_server_runs_in_a_folder_of_any_name(home: Path, prepared: Path, name: str) -> None:
    with lend(prepared, home / name / "database") as folder:
        server = EmbeddedPostgres(folder)
        server.start(timeout=40.0)

        assert server.is_running()
        with psycopg.connect(server.conninfo()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        second = EmbeddedPostgres(folder)
        second.start()
        assert [second.stop(), server.stop()] == [False, True]


@pytest.mark.parametrize("name", ['it\'s "a" $(home) @,%', "\udcff"])
def test_cluster_is_made_in_a_folder_of_any_name(home: Path, name: str) -> None:
    server = EmbeddedPostgres(home / name / "database")

    server.start(timeout=40.0)

    assert server.stop() is True
    expect_no_server(home)
    shutil.rmtree(os.fsencode(home / name))


def test_path_that_is_too_long_for_the_server_is_an_error_at_once(home: Path) -> None:
    folder = home.joinpath(*["l" * 200] * 5)

    with pytest.raises(EmbeddedPostgresError, match="has more than 900 bytes"):
        EmbeddedPostgres(folder).start()

    assert not folder.exists()
