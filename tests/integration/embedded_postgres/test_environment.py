"""The environment of the caller does not reach the embedded server, nor those who speak to it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from flowsync.embedded_postgres.server import EmbeddedPostgres
from flowsync.engine.home import forget_libpq_environment
from tests.integration.embedded_postgres.processes import Holder

VARIABLES = {
    "PGOPTIONS": "-c statement_timeout=1",
    "PGHOST": "192.0.2.1",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "stranger",
    "PGPASSWORD": "wrong",
    "PGDATABASE": "elsewhere",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/none",
    "PGSSLNEGOTIATION": "direct",
    "PGTARGETSESSIONATTRS": "standby",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGREQUIREPEER": "stranger",
    "PGCLIENTENCODING": "LATIN1",
    "PGPASSFILE": "/none",
    "PGCONNECT_TIMEOUT": "nonsense",
    "PGAPPNAME": "mine",
    "PGLOADBALANCEHOSTS": "nonsense",
    "PGMINPROTOCOLVERSION": "nonsense",
    "PGDATA": "/none",
    "LC_ALL": "none",
    "LC_MESSAGES": "de_DE.UTF-8",
}
IN_ANY_CASE = {
    "PGSERVICE": "nowhere",
    "PGSERVICEFILE": "/none",
    "PGSYSCONFDIR": "/none",
    "PGTZ": "nonsense",
    "PGDATESTYLE": "nonsense",
}


def test_server_is_made_started_and_spoken_to_whatever_the_environment_says(
    home: Path, hold: Callable[..., Holder]
) -> None:
    holder = hold(home / "database", environment=VARIABLES)

    holder.wait_ready()

    assert holder.let_go() is True


@pytest.mark.parametrize("name", VARIABLES)
def test_no_variable_reaches_a_connection(
    running: EmbeddedPostgres, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, VARIABLES[name])

    with psycopg.connect(running.conninfo()) as connection:
        found = connection.execute(
            "SELECT current_user, current_database(), current_setting('statement_timeout'),"
            " current_setting('client_encoding'), current_setting('application_name')"
        ).fetchone()

    assert found == ("postgres", "postgres", "0", "UTF8", "flowsync")


def test_program_can_forget_what_libpq_reads_in_any_case(
    running: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (VARIABLES | IN_ANY_CASE).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(psycopg.Error, match="service file"):
        psycopg.connect(running.conninfo())

    forget_libpq_environment()

    with psycopg.connect(running.conninfo()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.fixture(scope="module")
def running(prepared: Path) -> Iterator[EmbeddedPostgres]:
    """Give a server that runs for the tests of this module."""
    server = EmbeddedPostgres(prepared.parent)
    server.start()
    yield server
    assert server.stop() is True
