"""What a crash leaves behind, and the next start that heals it."""

import os
import shutil
import signal
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from flowsync.embedded_postgres.server import EmbeddedPostgres
from tests.integration.embedded_postgres.processes import servers_of


def connect(server: EmbeddedPostgres) -> psycopg.Connection:
    return psycopg.connect(server.conninfo(), autocommit=True)


def count(server: EmbeddedPostgres, table: str) -> int:
    statement = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    with psycopg.connect(server.conninfo()) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])


def kill_postmaster(folder: Path) -> None:
    (pid,) = servers_of(folder)
    os.kill(pid, signal.SIGKILL)


def test_killed_server_is_started_again_at_once_with_all_that_was_committed(database: Path) -> None:
    server = EmbeddedPostgres(database)
    server.start()
    with psycopg.connect(server.conninfo()) as connection:
        connection.execute("CREATE TABLE committed (number int)")

    # Its backends may still live when the next server starts, and hold the memory of the killed
    # one.
    with ExitStack() as sessions:
        for number in range(2):
            session = sessions.enter_context(closing(connect(server)))
            session.execute("INSERT INTO committed VALUES (%s)", [number])
            kill_postmaster(database)
            server.start()
            assert count(server, "committed") == number + 1

    assert server.stop() is True


def test_backend_that_survives_its_server_is_waited_for(database: Path) -> None:
    server = EmbeddedPostgres(database)
    server.start()
    with connect(server) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        kill_postmaster(database)
        # Let it go on, and die, only once a new server was refused because of it.
        waker = subprocess.Popen(
            [
                "/bin/sh",
                "-c",
                'until grep -q "pre-existing shared memory" "$0"; do :; done; kill -CONT "$1"',
                str(database / "server.log"),
                str(backend),
            ]
        )
        server.start(timeout=40.0)

        assert waker.wait() == 0
    assert server.stop() is True


@pytest.mark.parametrize("text", ["", "\n", "4"], ids=["empty", "newline", "cut"])
def test_lock_file_cut_short_by_a_crash_does_not_stop_a_start(database: Path, text: str) -> None:
    (database / "pg18" / "postmaster.pid").write_text(text)
    server = EmbeddedPostgres(database)

    server.start()

    assert server.stop() is True


def test_process_that_took_over_the_number_of_a_dead_server_is_left_alone(database: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stranger:
        data = database / "pg18"
        (data / "postmaster.pid").write_text(
            f"{stranger.pid}\n{data}\n1700000000\n5432\n{data}\n\n  1 2\nready   \n"
        )
        (data / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n{data}\n")
        server = EmbeddedPostgres(database)

        server.start()

        assert server.stop() is True
        assert stranger.poll() is None
        stranger.communicate()


def test_lock_file_lost_while_the_server_runs_does_not_hide_it(database: Path) -> None:
    server = EmbeddedPostgres(database)
    server.start()
    (pid,) = servers_of(database)
    # Cut, not removed: PostgreSQL looks for the file once a minute.
    (database / "pg18" / "postmaster.pid").write_text("")
    other = EmbeddedPostgres(database)

    other.start()

    assert servers_of(database) == [pid]
    assert [server.stop(), other.stop()] == [False, True]


def test_copy_of_a_running_cluster_is_another_cluster(database: Path, home: Path) -> None:
    original = EmbeddedPostgres(database)
    original.start()
    with psycopg.connect(original.conninfo()) as connection:
        connection.execute("CREATE TABLE copied (number int)")
        connection.execute("INSERT INTO copied VALUES (1)")
        connection.commit()
        connection.execute("CHECKPOINT")
    shutil.copytree(
        database / "pg18", home / "copy" / "pg18", ignore=shutil.ignore_patterns(".s.PGSQL.*")
    )
    copy = EmbeddedPostgres(home / "copy")

    copy.start()
    with psycopg.connect(copy.conninfo()) as connection:
        connection.execute("INSERT INTO copied VALUES (2)")

    assert (count(original, "copied"), count(copy, "copied")) == (1, 2)
    assert copy.stop() is True
    assert len(servers_of(database)) == 1
    assert original.stop() is True


def test_leftovers_of_a_killed_first_start_are_removed(home: Path) -> None:
    (home / ".init-left").mkdir()
    (home / ".init-left" / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(home)

    server.start()

    assert not list(home.glob(".init-*"))
    assert server.stop() is True
