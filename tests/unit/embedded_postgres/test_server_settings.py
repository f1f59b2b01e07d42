"""The command lines of the two programs."""

from pathlib import Path

from flowsync.embedded_postgres.cluster import (
    initdb_command,
    server_command,
    shared_buffers,
)

MIB = 1 << 20
GIB = 1 << 30


def test_callers_settings_win_but_do_not_move_the_socket() -> None:
    extra = {"max_connections": "7", "port": "1", "unix_socket_directories": "/elsewhere"}

    command = server_command(
        Path("/bin/postgres"), Path("/home/pg18"), Path("/home/pg18"), extra, GIB
    )

    assert command[:3] == ["/bin/postgres", "-D", "/home/pg18"]
    assert "max_connections=7" in command
    assert "max_connections=100" not in command
    assert "port=5432" in command
    assert 'unix_socket_directories="/home/pg18"' in command


def test_server_is_durable_and_listens_on_no_network() -> None:
    command = server_command(Path("/bin/postgres"), Path("/d"), Path("/d"), {}, GIB)

    assert {"fsync=on", "synchronous_commit=on", "listen_addresses="} <= set(command)


def test_quotes_in_the_socket_folder_are_doubled() -> None:
    command = server_command(Path("/bin/postgres"), Path("/d"), Path('/a "b"'), {}, GIB)

    assert 'unix_socket_directories="/a ""b"""' in command


def test_order_of_text_does_not_depend_on_the_machine() -> None:
    assert initdb_command(Path("/bin/initdb"), 18, Path("/d"))[-3:] == [
        "--no-locale",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
    ]
    # The built-in provider came with version 17.
    assert initdb_command(Path("/bin/initdb"), 16, Path("/d"))[-1] == "--no-locale"


def test_buffers_are_a_quarter_of_the_memory_within_bounds() -> None:
    assert shared_buffers(100 * MIB) == "128MB"
    assert shared_buffers(GIB) == "256MB"
    assert shared_buffers(64 * GIB) == "512MB"
    assert "shared_buffers=256MB" in server_command(
        Path("/bin/postgres"), Path("/d"), Path("/d"), {}, GIB
    )


def test_callers_buffers_win_over_those_that_fit_the_machine() -> None:
    extra = {"shared_buffers": "1GB"}

    command = server_command(Path("/bin/postgres"), Path("/d"), Path("/d"), extra, GIB)

    assert "shared_buffers=1GB" in command
    assert "shared_buffers=256MB" not in command
