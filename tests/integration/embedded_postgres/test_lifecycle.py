"""One process and its server: made, started, spoken to, stopped, in all kinds of places."""

import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from flowsync.embedded_postgres.server import EmbeddedPostgres
from flowsync.errors import EmbeddedPostgresError
from tests.integration.embedded_postgres.conftest import lend
from tests.integration.embedded_postgres.processes import servers_of


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder, settings=settings)
    server.start(timeout=40.0)
    try:
        yield server
    finally:
        server.stop()


def ask(server: EmbeddedPostgres, statement: str) -> object:
    with psycopg.connect(server.conninfo()) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]


def tell(server: EmbeddedPostgres, statement: str) -> None:
    with psycopg.connect(server.conninfo()) as connection:
        connection.execute(statement)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def test_cold_start_makes_a_closed_durable_cluster_and_stop_leaves_no_process(home: Path) -> None:
    server = EmbeddedPostgres(home / "new" / "database")

    server.start()

    assert server.is_running()
    assert server.version.startswith("18.")
    assert server.data_folder == home / "new" / "database" / "pg18"
    assert modes(server.folder) == {
        "pg18": 0o700,
        "holders.lock": 0o600,
        "start.lock": 0o600,
        "server.log": 0o600,
    }
    assert ask(server, "SHOW fsync") == "on"
    assert ask(server, "SHOW max_connections") == "100"
    assert ask(
        server, "SELECT string_agg(t, '' ORDER BY t) FROM unnest('{b,A,a,B}'::text[]) t"
    ) == ("ABab")
    assert server.stop() is True
    assert not server.is_running()
    assert servers_of(home) == []


def test_what_was_written_is_there_after_the_next_start(database: Path) -> None:
    with running(database) as server:
        tell(server, "CREATE TABLE answer AS SELECT 42 AS number")

    with running(database) as server:
        assert ask(server, "SELECT number FROM answer") == 42


@pytest.mark.parametrize(
    "name",
    ["with space", 'it\'s "quoted" $HOME \\ back', "comma,comma", "ümläut", "l" * 120],
    ids=["space", "quotes", "comma", "umlaut", "long"],
)
def test_any_path_works(home: Path, prepared: Path, name: str) -> None:
    with lend(prepared, home / name / "database") as folder, running(folder) as server:
        assert ask(server, "SHOW data_directory") == str(folder / "pg18")


def test_socket_beside_a_long_path_is_closed_and_goes_with_the_server(
    home: Path, prepared: Path
) -> None:
    with lend(prepared, home / ("l" * 120)) as folder, running(folder) as server:
        place = Path(str(ask(server, "SHOW unix_socket_directories")).strip('"'))
        assert place.parent == Path(tempfile.gettempdir())
        assert place.stat().st_mode & 0o777 == 0o700

    assert not place.exists()


def test_joiner_with_another_temporary_folder_finds_the_socket(
    home: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lend(prepared, home / ("l" * 120)) as folder, running(folder) as server:
        monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
        with running(folder) as joiner:
            assert joiner.conninfo() == server.conninfo()


def test_start_is_idempotent(database: Path) -> None:
    with running(database) as server:
        begun = ask(server, "SELECT pg_postmaster_start_time()")

        server.start()

        assert ask(server, "SELECT pg_postmaster_start_time()") == begun
        assert server.stop() is True
        assert server.stop() is False


def test_instances_of_one_process_share_the_server_and_the_last_stops_it(database: Path) -> None:
    servers = [EmbeddedPostgres(database) for _ in range(3)]
    for server in servers:
        server.start()

    assert len(servers_of(database)) == 1
    assert [server.stop() for server in servers] == [False, False, True]
    assert servers_of(database) == []


def test_threads_may_start_one_instance_and_several_at_once(database: Path) -> None:
    servers = [EmbeddedPostgres(database) for _ in range(3)]
    together = threading.Barrier(6)

    def start(server: EmbeddedPostgres) -> object:
        together.wait()
        server.start()
        return ask(server, "SELECT pg_postmaster_start_time()")

    with ThreadPoolExecutor(6) as threads:
        begun = set(threads.map(start, [*servers, *servers]))
        assert len(begun) == 1
        assert sorted(threads.map(EmbeddedPostgres.stop, servers)) == [False, False, True]


def test_variables_of_libpq_lead_nowhere_else(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {
        "PGHOST": "db.example.com",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGUSER": "nobody",
        "PGDATABASE": "other",
        "PGDATA": "/none",
    }
    for name, value in elsewhere.items():
        monkeypatch.setenv(name, value)

    with running(database) as server:
        assert (
            ask(server, "SELECT current_user || ' ' || current_database()") == "postgres postgres"
        )


def test_callers_settings_win(database: Path) -> None:
    with running(database, max_connections="17") as server:
        assert ask(server, "SHOW max_connections") == "17"


def test_server_that_cannot_start_is_an_error_at_once_in_its_own_words(database: Path) -> None:
    server = EmbeddedPostgres(database, settings={"shared_buffers": "lots"})

    with pytest.raises(EmbeddedPostgresError) as caught:
        server.start(timeout=40.0)

    assert 'invalid value for parameter "shared_buffers": "lots"' in str(caught.value)
    assert str(caught.value).startswith(
        f"embedded PostgreSQL: starting the server of {database}/pg18: "
    )
    assert str(caught.value).endswith(f"; see {database}/server.log")
    # It holds nothing: the next one is alone.
    with running(database):
        pass
    assert servers_of(database) == []


@pytest.mark.parametrize("timeout", [0.0, 0.008, 0.016])
def test_start_that_is_out_of_time_leaves_no_server(database: Path, timeout: float) -> None:
    server = EmbeddedPostgres(database)

    with pytest.raises(EmbeddedPostgresError, match="not ready in time"):
        server.start(timeout=timeout)

    assert servers_of(database) == []
    assert not server.is_running()


def test_folder_that_cannot_be_made_is_an_error(home: Path) -> None:
    (home / "file").touch()

    with pytest.raises(EmbeddedPostgresError, match=r"making the folder .*/file/database"):
        EmbeddedPostgres(home / "file" / "database").start()


def test_file_that_cannot_be_written_is_an_error_and_nothing_is_held(database: Path) -> None:
    (database / "server.log").mkdir()

    with pytest.raises(EmbeddedPostgresError, match=r"starting the server .*server\.log"):
        EmbeddedPostgres(database).start(timeout=20.0)

    (database / "server.log").rmdir()
    with running(database):
        pass


def test_cluster_of_an_unknown_version_is_refused_and_kept(home: Path) -> None:
    (home / "pg99").mkdir()
    (home / "pg99" / "PG_VERSION").write_text("99\n")

    with pytest.raises(EmbeddedPostgresError, match="programs of PostgreSQL 99, which made the"):
        EmbeddedPostgres(home).start()

    assert not (home / "pg18").exists()


@pytest.mark.skipif(
    not Path("/usr/lib/postgresql/15/bin/initdb").exists(), reason="no PostgreSQL 15 installed"
)
def test_older_version_of_the_system_works_and_stays_the_clusters_own(home: Path) -> None:
    first = EmbeddedPostgres(home, binaries=Path("/usr/lib/postgresql/15/bin"))
    first.start()
    assert str(ask(first, "SHOW server_version")).startswith("15.")
    assert first.stop()

    # Found by the cluster's version, although the wheel's 18 comes first.
    with running(home) as server:
        assert server.data_folder == home / "pg15"
        assert str(ask(server, "SHOW server_version")).startswith("15.")


def test_long_log_is_put_aside(database: Path) -> None:
    (database / "server.log").write_bytes(b"x" * (1 << 20))

    with running(database):
        pass

    assert (database / "server.log.1").stat().st_size == 1 << 20
    assert 0 < (database / "server.log").stat().st_size < 10_000


def test_failed_statement_does_not_fill_the_log(database: Path) -> None:
    with running(database) as server:
        with pytest.raises(psycopg.errors.UndefinedTable):
            tell(server, "SELECT * FROM nowhere")
        assert "nowhere" not in (database / "server.log").read_text()


def test_users_environment_does_not_reach_the_server(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSYNC_TOKEN", "secret")

    with running(database):
        (pid,) = servers_of(database)
        assert b"secret" not in (Path("/proc") / str(pid) / "environ").read_bytes()
        assert os.getsid(pid) != os.getsid(0)
