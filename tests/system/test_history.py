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
        "run 1 of files: completed, version 1: 2 added, 0 removed; 2 files, 8 B downloaded; 1 "
        "left out"
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


def test_plan_says_what_a_sync_would_do_and_the_sync_does_exactly_that(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = publish(upstream, FILES)
    arguments = ("file", url, "-r", "files", "--mirror")
    flowsync.run("sync", *arguments)
    publish(upstream, {"a": b"changed", "b": b"two"})

    planned = flowsync.run("plan", *arguments, "--output", "plan.json")
    as_object = flowsync.run("plan", *arguments, "--json")
    done = flowsync.run("sync", "--plan", "plan.json", "--json")
    again = flowsync.run("sync", "--plan", "plan.json")

    (plan,) = as_object.objects
    assert planned.out.splitlines() == [
        "files: from version 1, a sync would make a new version",
        "  add       1 units, 7 B",
        "  remove    2 units, 8 B",
        "  download  1 files, 7 B",
        f"  hold      2 units, root {plan['root'][:12]}",
    ]
    assert (plan["base"], plan["added"], plan["removed"], plan["downloads"]) == (1, 1, 2, 1)
    (result,) = done.objects
    assert (result["version"], result["added"], result["removed"]) == (2, 1, 2)
    assert flowsync.run("versions", "files", "--json").objects[-1]["root"] == plan["root"]
    assert again.status == 1
    assert "'files' is at version 2" in again.complaints[0]
    assert "the repository moved on; nothing was changed, make a new plan" in again.complaints[0]


def test_plan_of_the_settings_file_keeps_no_secret_and_ends_with_the_settings(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = publish(upstream, FILES)
    secret = {"max_retries": 0, "username": "me", "password": "hidden"}
    flowsync.configure(repositories={"files": {"url": url, "remote": secret}})
    planned = flowsync.run("plan", "-o", "plan.json")
    flowsync.configure(repositories={"files": {"url": url, "remote": secret, "mirror": True}})
    changed = flowsync.run("sync", "--plan", "plan.json")
    flowsync.configure(repositories={"files": {"url": url, "remote": secret}})

    done = flowsync.run("sync", "--plan", "plan.json")

    assert planned.status == 0
    assert "hidden" not in (flowsync.folder / "plan.json").read_text()
    assert changed.status == 2
    assert "repository 'files' was changed since it was planned" in changed.err
    assert done.out.startswith("files: version 1: 3 added, 0 removed, 3 units present")


def test_plans_that_cannot_be_made_or_read_are_one_line(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    (flowsync.folder / "broken.json").write_text('{"format": 1}')
    nowhere = ("plan", "file", upstream.url("/PULP_MANIFEST"), "-r", "files", "-o", "plan.json")

    failed, missing, broken, both = flowsync.run_all(
        nowhere,
        ("sync", "--plan", "plan.json"),
        ("sync", "--plan", "broken.json"),
        ("sync", "files", "--plan", "broken.json"),
    )

    assert (failed.status, failed.out) == (1, "")
    assert "plan of the sync of files" in failed.complaints[0]
    assert (missing.status, missing.complaints) == (
        2,
        ["flowsync: cannot read the plan plan.json: No such file or directory"],
    )
    assert broken.status == 2
    assert "broken.json is no plan of this flowsync" in broken.err
    assert both.status == 2
    assert "--plan says it all" in both.err


def test_why_says_what_decided_that_a_path_is_there_or_not(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    url = publish(upstream, FILES)
    sync = ("sync", "file", url, "-r", "files", "--mirror", "--on-error", "skip")
    flowsync.run(*sync)
    publish(upstream, {"a": b"one", "d": b"four"})
    upstream.always("/d", Status(404))
    flowsync.run(*sync)

    present, removed, before, failed, unknown, as_object = flowsync.run_all(
        ("why", "files", "a"),
        ("why", "files", "b"),
        ("why", "files", "b", "--version", "1"),
        ("why", "files", "d"),
        ("why", "files", "x"),
        ("why", "files", "a", "--json"),
    )

    assert present.out.splitlines()[:5] == [
        "version 2 of files has a",
        "  added by version 1, run 1, file",
        f"  listed in line 1 by {url}",
        "  3 bytes, here",
        "  sha256 7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
    ]
    assert f"  from {upstream.url('/a')} (remote files, immediate)" in present.out
    assert removed.out.splitlines()[:2] == [
        "version 2 of files does not have b",
        (
            f"  removed by version 2, run 2: {url} did not list it any more, or another unit "
            "replaced it"
        ),
    ]
    assert "flowsync rollback files 1 brings it back" in removed.out
    assert before.out.startswith("version 1 of files has b\n")
    assert failed.out.splitlines()[1].startswith("  skipped by run 2, the last one: ")
    assert "404" in failed.out
    assert "sync again once that is mended" in failed.out
    assert "no recorded run was offered it" in unknown.out
    (found,) = as_object.objects
    (unit,) = found["present"]
    assert (unit["run"], unit["line"], unit["read"], unit["stored"]) == (1, 1, [url], True)
    assert (found["removal"], found["failure"]) == (None, None)
