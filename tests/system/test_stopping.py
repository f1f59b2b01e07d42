"""Signals and kill -9 in the middle of a sync: it ends quickly, leaves nothing visible, and the
next sync completes.
"""

import signal
import socket
from pathlib import Path

import pytest

from tests.integration.embedded_postgres.processes import servers_of
from tests.system.command import CommandLine
from tests.system.publishing import install, numbered, publish
from tests.system.records import (
    expect_whole,
    recorded_artifacts,
    staged,
    versions,
    wait_for_artifacts,
    wait_for_file,
    wait_for_waiters,
)
from tests.upstream.behaviours import Good, Hang, Hold
from tests.upstream.server import Upstream

FILES = numbered(40)
STATUS = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}
LIMIT = 2.0
"""Seconds that stopping may take."""

LIMIT_WITH_SERVER = 15.0
"""Seconds that stopping may take where the embedded server is stopped too, or must first be
initialised: that waits for the disk, which other tests keep busy at the same time. On a quiet
machine it is well below two seconds."""


@pytest.mark.parametrize("number", STATUS)
def test_a_signal_in_the_middle_of_downloads_leaves_no_version_and_no_process(
    flowsync: CommandLine, upstream: Upstream, conninfo: str, number: signal.Signals
) -> None:
    url = publish(upstream, FILES)
    upstream.always("/files/0007.txt", Hang(after=10))
    running = flowsync.start("sync", "file", url, "-r", "files", "--json")
    upstream.wait_for(41)

    stopped = running.stop(number)

    assert stopped.seconds < LIMIT
    assert (stopped.status, stopped.out) == (STATUS[number], "")
    assert stopped.err == f"flowsync: stopped by {number.name}; nothing half-done is visible\n"
    assert versions(conninfo, "files") == []
    assert staged(flowsync.home) == []
    expect_whole(conninfo, flowsync.home)

    upstream.always("/files/0007.txt", Good())
    again = flowsync.run("sync", "file", url, "-r", "files", "--json")
    assert (again.objects[0]["version"], again.objects[0]["present"]) == (1, 40)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_command_that_started_them(
    flowsync: CommandLine, upstream: Upstream, number: signal.Signals
) -> None:
    """Leaving a process behind fails in `stop`."""
    flowsync.configure("workers = 2\n", {"files": {"url": publish(upstream, FILES)}})
    upstream.always("/files/0007.txt", Hang(after=10))
    running = flowsync.start("sync")
    upstream.wait_for(41)

    # Only the command itself is told; a kill of the whole group would be too easy.
    stopped = running.stop(number, alone=True)
    upstream.always("/files/0007.txt", Good())
    again = flowsync.run("sync", "--json")

    assert stopped.seconds < LIMIT
    assert again.objects[0]["version"] == 1
    assert staged(flowsync.home) == []


@pytest.mark.parametrize(
    ("words", "expected"), [([], 1), (["--workers", "0"], 0), (["--workers", "2"], 2)]
)
def test_as_many_workers_download_as_the_command_line_says_and_else_as_the_settings_say(
    flowsync: CommandLine, upstream: Upstream, words: list[str], expected: int
) -> None:
    flowsync.configure("workers = 1\n", {"files": {"url": publish(upstream, FILES)}})
    upstream.always("/files/0007.txt", Hold())
    running = flowsync.start("sync", "--json", *words)
    upstream.wait_for(41)

    workers = [command for command in running.processes() if "multiprocessing.spawn" in command]
    upstream.release()
    done = running.wait()

    assert len(workers) == expected
    assert done.objects[0]["present"] == 40


def test_a_signal_stops_a_sync_that_waits_for_its_manifest(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = publish(upstream, FILES)
    upstream.always("/PULP_MANIFEST", Hang())
    running = flowsync.start("sync", "file", url, "-r", "files")
    upstream.wait_for(1)

    stopped = running.stop(signal.SIGINT)

    assert stopped.seconds < LIMIT
    assert stopped.status == 130


def test_a_second_sync_waits_for_the_first_or_is_told(
    flowsync: CommandLine, upstream: Upstream, conninfo: str
) -> None:
    """One sync of a repository at a time: the second waits, can be stopped while it waits, or fails
    at once with --no-wait.
    """
    url = publish(upstream, FILES)
    upstream.always("/files/0007.txt", Hold())
    sync = ("sync", "file", url, "-r", "files", "--json")
    first = flowsync.start(*sync)
    upstream.wait_for(41)

    told = flowsync.run(*sync, "--no-wait")
    waiting, stopping = flowsync.start(*sync), flowsync.start(*sync)
    wait_for_waiters(conninfo, 2)
    stopped = stopping.stop(signal.SIGINT)
    upstream.release()
    done, later = first.wait(), waiting.wait()

    assert told.status == 1
    assert "repository 'files' is busy" in told.objects[0]["error"]
    assert "repository 'files' is busy" in told.err
    assert (stopped.status, stopped.seconds < LIMIT) == (130, True)
    assert done.objects[0]["version"] == 1
    assert (later.objects[0]["version"], later.objects[0]["skipped"]) == (None, True)


def test_a_signal_stops_a_command_whose_database_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://nobody@127.0.0.1:{port}/flowsync"
        running = CommandLine(tmp_path, database_url=url).start("status")
        connection, _ = silent.accept()
        with connection:
            stopped = running.stop(signal.SIGINT)

    assert (stopped.status, stopped.seconds < LIMIT) == (130, True)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_stops_the_embedded_server_too(
    tmp_path: Path, upstream: Upstream, number: signal.Signals
) -> None:
    flowsync = CommandLine(tmp_path, database_url=None)
    url = publish(upstream, FILES)
    upstream.always("/files/0007.txt", Hang(after=10))
    running = flowsync.start("sync", "file", url, "-r", "files")
    upstream.wait_for(41, timeout=30)

    stopped = running.stop(number)

    assert (stopped.status, stopped.seconds < LIMIT_WITH_SERVER) == (STATUS[number], True)
    assert servers_of(flowsync.home) == []
    upstream.always("/files/0007.txt", Good())
    again = flowsync.run("sync", "file", url, "-r", "files")
    assert (again.status, servers_of(flowsync.home)) == (0, [])


@pytest.mark.parametrize("number", STATUS)
def test_a_signal_stops_the_very_first_start(tmp_path: Path, number: signal.Signals) -> None:
    flowsync = CommandLine(tmp_path, database_url=None)
    running = flowsync.start("status")
    wait_for_file(flowsync.home / "database" / "start.lock")

    stopped = running.stop(number)

    assert (stopped.status, stopped.seconds < LIMIT_WITH_SERVER) == (STATUS[number], True)
    assert servers_of(flowsync.home) == []
    assert flowsync.run("status").status == 0


@pytest.mark.parametrize("numbers", [(signal.SIGINT,) * 2, (signal.SIGHUP, signal.SIGTERM)])
def test_signals_in_a_row_leave_no_server_behind(
    tmp_path: Path, numbers: tuple[signal.Signals, signal.Signals]
) -> None:
    """A terminal that closes sends SIGHUP, and what watches the program SIGTERM thereafter."""
    flowsync = CommandLine(tmp_path, database_url=None)
    running = flowsync.start("status")
    wait_for_file(flowsync.home / "database" / "start.lock")

    running.signal(numbers[0])
    stopped = running.stop(numbers[1])

    # The system may bring both at once, and then in the order of their numbers.
    assert stopped.status in {STATUS[number] for number in numbers}
    assert stopped.seconds < LIMIT_WITH_SERVER
    assert "Traceback" not in stopped.err
    assert servers_of(flowsync.home) == []


def test_a_server_ends_in_order_when_its_terminal_goes(tmp_path: Path) -> None:
    flowsync = CommandLine(tmp_path, database_url=None)
    running = flowsync.start("serve", "--bind", "127.0.0.1:0")
    assert running.process.stdout is not None
    running.process.stdout.readline()

    stopped = running.stop(signal.SIGHUP)

    assert stopped.status == 129
    assert stopped.err == "flowsync: stopped by SIGHUP; nothing half-done is visible\n"
    assert servers_of(flowsync.home) == []


def test_a_sync_under_nohup_outlives_its_terminal(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = publish(upstream, FILES)
    upstream.always("/files/0007.txt", Hold())
    lasting = CommandLine(
        flowsync.folder,
        database_url=flowsync.environment["FLOWSYNC_DATABASE_URL"],
        prefix=["sh", "-c", 'trap "" HUP; exec "$@"', "sh"],
    )
    running = lasting.start("sync", "file", url, "-r", "files", "--workers", "1", "--json")
    upstream.wait_for(41)

    running.signal(signal.SIGHUP)
    upstream.release()
    done = running.wait()

    assert (done.status, done.objects[0]["present"]) == (0, 40)


def test_a_signal_while_the_program_loads_is_no_traceback(
    flowsync: CommandLine, tmp_path: Path
) -> None:
    """A plugin that takes its time to load is told of nothing: the command ends."""
    install(
        flowsync,
        "slow",
        "import os, time, pathlib\n"
        f"pathlib.Path({str(tmp_path / 'loading')!r}).touch()\n"
        "try:\n    time.sleep(60)\nexcept Exception:\n    pass\n",
    )
    running = flowsync.start("sync", "slow", "http://127.0.0.1:1/", "-r", "files")
    wait_for_file(tmp_path / "loading")

    stopped = running.stop(signal.SIGTERM)

    assert stopped.status == 143
    assert stopped.err == "flowsync: stopped by SIGTERM; nothing half-done is visible\n"


def test_after_kill_9_the_next_sync_fetches_only_what_is_missing(
    flowsync: CommandLine, upstream: Upstream, conninfo: str
) -> None:
    files = numbered(1500)
    url = publish(upstream, files)
    upstream.always("/files/1400.txt", Hang(after=10))
    sync = ("sync", "file", url, "-r", "files", "--json")
    running = flowsync.start(*sync)
    wait_for_artifacts(conninfo, 500)
    killed = running.stop(signal.SIGKILL)
    recorded = recorded_artifacts(conninfo)
    expect_whole(conninfo, flowsync.home)
    before = upstream.count()

    upstream.always("/files/1400.txt", Good())
    again = flowsync.run(*sync)

    assert killed.status == -signal.SIGKILL
    assert 500 <= recorded < 1500
    assert again.objects[0]["downloaded"] == 1500 - recorded
    assert upstream.count() - before == 1500 - recorded + 1
    assert versions(conninfo, "files") == [(1, True)]
    assert staged(flowsync.home) == []
    expect_whole(conninfo, flowsync.home)


def test_after_kill_9_the_embedded_server_is_healed(tmp_path: Path, upstream: Upstream) -> None:
    flowsync = CommandLine(tmp_path, database_url=None)
    url = publish(upstream, FILES)
    upstream.always("/files/0007.txt", Hang(after=10))
    running = flowsync.start("sync", "file", url, "-r", "files")
    upstream.wait_for(41, timeout=30)
    running.stop(signal.SIGKILL)

    upstream.always("/files/0007.txt", Good())
    again = flowsync.run("sync", "file", url, "-r", "files", "--json")

    assert again.objects[0]["version"] == 1
    assert servers_of(flowsync.home) == []
    assert staged(flowsync.home) == []
