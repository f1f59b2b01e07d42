"""The server's process as seen from outside. Stand-ins are shells that are called `postgres`, as
the kernel's process table tells.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowsync.embedded_postgres.postmaster import (
    is_alive,
    is_postmaster,
    remove_stale_locks,
    running_pid,
    socket_folder,
)


@pytest.fixture
def lookalike(tmp_path: Path) -> Iterator[int]:
    """Run a process with the command line of a server of `tmp_path`."""
    command = ["postgres", "-c", "echo; read line", "-D", str(tmp_path)]
    with subprocess.Popen(
        command, executable="/bin/sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        # The kernel shows the command line only once the program runs.
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")


@pytest.fixture
def dead(tmp_path: Path) -> int:
    """Return the number of a process that has ended and was waited for."""
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


def test_server_is_recognised_by_its_command_line(tmp_path: Path, lookalike: int) -> None:
    assert is_postmaster(lookalike, tmp_path)
    assert not is_postmaster(lookalike, tmp_path / "other")
    assert not is_postmaster(os.getpid(), tmp_path)


def test_zombie_is_no_server(tmp_path: Path) -> None:
    command = ["postgres", "-c", "exit", "-D", str(tmp_path)]
    process = subprocess.Popen(command, executable="/bin/sh", stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert not is_postmaster(process.pid, tmp_path)
    assert not is_alive(process.pid)

    process.stdout.close()
    process.wait()


def test_process_lives_until_it_ends(lookalike: int, dead: int) -> None:
    assert is_alive(lookalike)
    assert not is_alive(dead)


def test_lock_file_of_a_living_stranger_is_removed(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{tmp_path}\n")

    remove_stale_locks(tmp_path, tmp_path)

    assert not lock.exists()


@pytest.mark.parametrize("text", ["", "\n", "12x", "0\n"])
def test_lock_file_without_a_process_id_is_removed(tmp_path: Path, text: str) -> None:
    lock = tmp_path / ".s.PGSQL.5432.lock"
    lock.write_text(text)

    remove_stale_locks(tmp_path, tmp_path)

    assert not lock.exists()


def test_lock_file_of_the_dead_is_left_to_postgresql(tmp_path: Path, dead: int) -> None:
    lock = tmp_path / "postmaster.pid"
    lock.write_text(f"{dead}\n{tmp_path}\n")

    remove_stale_locks(tmp_path, tmp_path)

    assert lock.exists()


def test_lock_file_of_a_living_server_stays(tmp_path: Path, lookalike: int) -> None:
    lock = tmp_path / "postmaster.pid"
    lock.write_text(f"{lookalike}\n{tmp_path}\n")

    remove_stale_locks(tmp_path, tmp_path)

    assert lock.exists()
    assert running_pid(tmp_path) == lookalike


def test_stranger_in_the_lock_file_is_never_taken_for_the_server(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n")

    assert running_pid(tmp_path) is None


def test_socket_is_where_the_running_server_says(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text(f"1\n{tmp_path}\n0\n5432\n/run/elsewhere\n\n")

    assert socket_folder(tmp_path) == Path("/run/elsewhere")


def test_copy_of_a_cluster_does_not_lead_to_the_original(tmp_path: Path) -> None:
    original = tmp_path / "original"
    (tmp_path / "postmaster.pid").write_text(f"1\n{original}\n0\n5432\n{original}\n\n")

    assert socket_folder(tmp_path) == tmp_path


def test_lock_file_cut_short_says_nothing_about_the_socket(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text(f"1\n{tmp_path}\n0\n")

    assert socket_folder(tmp_path) == tmp_path
