"""Several processes and one server."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg

from flowsync.embedded_postgres.server import EmbeddedPostgres
from tests.integration.embedded_postgres.processes import Holder, servers_of

Hold = Callable[..., Holder]


def test_three_processes_start_one_cold_folder_together_and_the_last_stops_it(
    home: Path, hold: Hold
) -> None:
    holders = [hold(home / "database") for _ in range(3)]

    told = [holder.wait_ready() for holder in holders]

    assert told[0] == told[1] == told[2]
    assert len(servers_of(home)) == 1
    assert [holder.let_go() for holder in holders] == [False, False, True]
    assert servers_of(home) == []


def test_starter_may_leave_first(database: Path, hold: Hold) -> None:
    starter = hold(database)
    starter.wait_ready()
    server = EmbeddedPostgres(database)
    server.start()

    assert starter.let_go() is False
    psycopg.connect(server.conninfo()).close()
    assert server.stop() is True


def test_killed_holder_does_not_count(database: Path, hold: Hold) -> None:
    killed = hold(database)
    killed.wait_ready()
    server = EmbeddedPostgres(database)
    server.start()

    killed.kill()

    assert server.stop() is True
    assert servers_of(database) == []


def test_after_all_holders_were_killed_the_next_to_come_and_go_stops_the_server(
    database: Path, hold: Hold
) -> None:
    killed = hold(database)
    killed.wait_ready()
    killed.kill()
    (pid,) = servers_of(database)
    server = EmbeddedPostgres(database)

    server.start()

    assert servers_of(database) == [pid]
    assert server.stop() is True


def test_starter_killed_while_it_makes_the_cluster_does_not_stop_the_next(
    home: Path, hold: Hold
) -> None:
    killed = hold(home)
    while not list(home.glob(".init-*")):
        assert killed.process.poll() is None
    killed.kill()
    server = EmbeddedPostgres(home)

    server.start()

    assert server.stop() is True


def test_server_killed_under_its_holders_is_started_by_the_next_and_serves_all(
    database: Path, hold: Hold
) -> None:
    server = EmbeddedPostgres(database)
    server.start()
    (pid,) = servers_of(database)
    os.kill(pid, signal.SIGKILL)

    other = hold(database)
    other.wait_ready()

    psycopg.connect(server.conninfo()).close()
    assert server.stop() is False
    assert other.let_go() is True


def test_interrupt_of_the_terminal_does_not_reach_the_server(database: Path, hold: Hold) -> None:
    holder = hold(database)
    holder.wait_ready()
    (pid,) = servers_of(database)

    assert os.getpgid(pid) != os.getpgid(holder.process.pid)
    assert holder.let_go() is True
