"""The reference count of a server: shared locks, and the exclusive one of the last holder."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowsync.embedded_postgres.postmaster import Hold, starting
from flowsync.errors import EmbeddedPostgresError

REPOSITORY = Path(__file__).parents[4]


def soon() -> float:
    return time.monotonic() + 0.05


def run_script(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_only_the_last_of_several_holders_is_the_last(tmp_path: Path) -> None:
    first, second = Hold(tmp_path / "lock"), Hold(tmp_path / "lock")
    first.share(soon())
    second.share(soon())

    assert not first.is_last()
    first.release()
    assert second.is_last()
    second.release()


def test_of_two_that_let_go_at_once_one_is_the_last(tmp_path: Path) -> None:
    first, second = Hold(tmp_path / "lock"), Hold(tmp_path / "lock")
    first.share(soon())
    second.share(soon())

    # Neither has released yet when the other asks.
    assert [first.is_last(), second.is_last()] == [False, True]

    first.release()
    second.release()


def test_nobody_shares_while_the_last_holder_stops_the_server(tmp_path: Path) -> None:
    last, late = Hold(tmp_path / "lock"), Hold(tmp_path / "lock")
    last.share(soon())
    assert last.is_last()

    with pytest.raises(EmbeddedPostgresError, match="another process still holds it"):
        late.share(soon())
    assert not late.held

    last.release()
    late.share(soon())
    assert late.held
    late.release()


def test_sharing_twice_counts_once(tmp_path: Path) -> None:
    hold, other = Hold(tmp_path / "lock"), Hold(tmp_path / "lock")
    hold.share(soon())
    hold.share(soon())
    other.share(soon())

    hold.release()

    assert other.is_last()
    other.release()


def test_without_a_share_nobody_is_the_last(tmp_path: Path) -> None:
    hold = Hold(tmp_path / "lock")

    assert not hold.is_last()
    hold.release()


def test_share_of_a_killed_process_is_gone(tmp_path: Path) -> None:
    hold = Hold(tmp_path / "lock")
    hold.share(soon())
    script = """
import sys, time
from pathlib import Path
from flowsync.embedded_postgres.postmaster import Hold
hold = Hold(Path(sys.argv[1]))
hold.share(time.monotonic() + 5)
print("held", flush=True)
sys.stdin.read()
"""
    with run_script(script, tmp_path / "lock") as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        other.kill()

    assert hold.is_last()
    hold.release()


def test_forked_process_neither_keeps_the_lock_nor_takes_it_from_its_parent(tmp_path: Path) -> None:
    script = """
import os, sys, time
from pathlib import Path
from flowsync.embedded_postgres.postmaster import Hold
hold = Hold(Path(sys.argv[1]))
hold.share(time.monotonic() + 5)
asked, told = os.pipe()
if os.fork() == 0:
    assert not hold.is_last()
    os.write(told, b"x")
    sys.stdin.read()  # lives on with its copy of the open file
    os._exit(0)
os.read(asked, 1)
print(hold.is_last(), flush=True)
hold.release()
print("released", flush=True)
sys.stdin.read()
"""
    hold = Hold(tmp_path / "lock")
    with run_script(script, tmp_path / "lock") as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        assert other.stdout.readline() == "released\n"

        hold.share(soon())
        assert hold.is_last()
        hold.release()
        other.communicate("")


def test_one_starter_at_a_time(tmp_path: Path) -> None:
    first, second = starting(tmp_path / "lock", soon()), starting(tmp_path / "lock", soon())
    with first, pytest.raises(EmbeddedPostgresError, match=r"waiting for the lock .*/lock"):
        second.__enter__()

    with starting(tmp_path / "lock", soon()):
        pass


def test_lock_files_are_closed_to_others(tmp_path: Path) -> None:
    with starting(tmp_path / "lock", soon()):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_lock_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"opening the lock .*/none/lock: No such file"):
        Hold(tmp_path / "none" / "lock").share(soon())
