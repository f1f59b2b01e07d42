"""What the command line tells of runs, plans and paths."""

import signal

from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.upstream.behaviours import Good, Hang, Status
from tests.upstream.server import Upstream

FILES = {"a": b"one", "b": b"two", "c": b"three"}


def test_runs_lists_how_each_sync_ended_newest_first(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = publish(upstream, FILES)
    sync = ("sync", "file", url, "-r", "files")
    flowsync.run(*sync)
    flowsync.run(*sync)
    upstream.always("/PULP_MANIFEST", Status(404))
    flowsync.run(*sync, "--force")

    text, objects = flowsync.run_all(("runs",), ("runs", "files", "--json"))

    header, *rows = [line.split() for line in text.out.splitlines()]
    assert header[:4] == ["run", "repository", "state", "started"]
    assert [row[:3] for row in rows] == [
        ["3", "files", "failed"],
        ["2", "files", "skipped"],
        ["1", "files", "completed"],
    ]
    assert "404" in text.out.splitlines()[1]
    assert text.out.splitlines()[3].endswith(
        "version 1: 3 added, 0 removed; 3 files, 11 B downloaded"
    )
    assert [(run["number"], run["state"], run["version"]) for run in objects.objects] == [
        (3, "failed", None),
        (2, "skipped", None),
        (1, "completed", 1),
    ]


def test_runs_tells_all_of_one_run_with_what_it_left_out_and_why(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = publish(upstream, FILES)
    upstream.always("/b", Status(403))
    flowsync.run("sync", "file", url, "-r", "files", "--mirror", "--on-error", "skip")

    text, objects, wrong = flowsync.run_all(
        ("runs", "files", "--id", "1"),
        ("runs", "--id", "1", "--json"),
        ("runs", "files", "--id", "9"),
    )

    lines = text.out.splitlines()
    assert lines[0] == (
        "run 1 of files: completed, version 1: 2 added, 0 removed; 2 files, 8 B downloaded; 1 left out"
    )
    assert f"from      {url} (remote files, immediate)" in lines
    assert "how       mirror, on error skip" in lines
    assert "progress  Associating Content 2/3 (completed)" in lines
    assert lines[-2] == "left out  1"
    assert lines[-1].startswith("  b: ")
    assert "403" in lines[-1]
    run, left_out = objects.objects
    assert (run["number"], run["left_out"]) == (1, 1)
    assert (left_out["run"], left_out["relative_path"], left_out["action"]) == (1, "b", "skipped")
    assert (wrong.status, wrong.complaints) == (
        1,
        ["flowsync: no run of repository 'files' has the number 9"],
    )


def test_killed_and_interrupted_runs_are_shown_as_such(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = publish(upstream, FILES)
    upstream.always("/b", Hang())
    sync = ("sync", "file", url, "-r", "files")
    killed = flowsync.start(*sync)
    upstream.wait_for(4)
    while_running = flowsync.run("runs", "files", "--json")
    killed.stop(signal.SIGKILL)
    interrupted = flowsync.start(*sync)
    upstream.wait_for(6)
    interrupted.stop(signal.SIGINT)
    upstream.always("/b", Good())
    flowsync.run(*sync)

    states = [(run["number"], run["state"]) for run in flowsync.run("runs", "--json").objects]

    assert [run["state"] for run in while_running.objects] == ["running"]
    assert states == [(3, "completed"), (2, "canceled"), (1, "lost")]
