"""Every command and option, on one repository with three versions."""

import json
import os
import stat
from pathlib import Path

import pytest

from tests.system.command import CommandLine, Done
from tests.system.publishing import publish
from tests.system.records import staged
from tests.upstream.behaviours import Status
from tests.upstream.server import Upstream

FIRST = {"a.txt": b"one", "lib/b.whl": b"two", "lib/sub/c.whl": b"three", "odd, name": b""}
SECOND = {"a.txt": b"changed", "lib/b.whl": b"two", "new.txt": b"four"}


@pytest.fixture(scope="module")
def flowsync(tmp_path_factory: pytest.TempPathFactory, shared_conninfo: str) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("commands"), database_url=shared_conninfo)


@pytest.fixture(scope="module")
def synced(flowsync: CommandLine, shared_upstream: Upstream) -> list[Done]:
    """Sync four times: everything new, nothing changed, changed and mirrored, forced."""
    url = publish(shared_upstream, FIRST)
    sync = ("sync", "file", url, "--repository", "files")
    done = [flowsync.run(*sync), flowsync.run(*sync)]
    publish(shared_upstream, SECOND)
    return [*done, flowsync.run(*sync, "--mirror"), flowsync.run(*sync, "--mirror", "--force")]


def test_sync_tells_what_it_did_in_one_line(synced: list[Done]) -> None:
    said = [done.out.splitlines()[0].partition(" in ")[0] for done in synced]

    assert [done.status for done in synced] == [0, 0, 0, 0]
    assert said == [
        "files: version 1: 4 added, 0 removed, 4 units present; downloaded 4 files, 11 B",
        "files: upstream is unchanged, skipped; 4 units present",
        "files: version 2: 2 added, 3 removed, 3 units present; downloaded 2 files, 11 B",
        "files: no change, no version; 3 units present; nothing downloaded",
    ]


def test_progress_is_plain_lines_without_a_terminal(synced: list[Done]) -> None:
    """A counter that counted nothing is not shown."""
    assert sorted(synced[0].err.splitlines()) == [
        "files: Associating Content 4",
        "files: Downloading Artifacts 4, 11 B",
        "files: Downloading Metadata 1, 308 B",
        "files: Parsing Metadata 4",
    ]
    assert synced[1].err.splitlines() == ["files: Downloading Metadata 1"]


def test_versions_lists_what_each_added_removed_and_holds(
    flowsync: CommandLine, synced: list[Done]
) -> None:
    text, objects = flowsync.run_all(("versions", "files"), ("versions", "files", "--json"))

    counts = [line.split() for line in text.out.splitlines()[1:]]
    roots = [version["root"] for version in objects.objects]
    assert [[number, *rest[-4:]] for number, *rest in counts] == [
        ["0", "0", "0", "0", roots[0][:12]],
        ["1", "4", "0", "4", roots[1][:12]],
        ["2", "2", "3", "3", roots[2][:12]],
    ]
    assert [version["present"] for version in objects.objects] == [0, 4, 3]
    assert [len(root) for root in {*roots}] == [64, 64, 64]


def test_show_lists_the_content_of_a_version_and_a_glob_filters_it(
    flowsync: CommandLine, synced: list[Done]
) -> None:
    latest, first, filtered, objects = flowsync.run_all(
        ("show", "files"),
        ("show", "files", "1"),
        ("show", "files", "1", "--glob", "*.whl"),
        ("show", "files", "1", "--glob", "lib/b*", "--json"),
    )

    assert _paths(latest) == ["a.txt", "lib/b.whl", "new.txt"]
    assert first.out.splitlines()[-1] == "4 paths, 11 B in version 1 of files"
    assert _paths(filtered) == ["lib/b.whl", "lib/sub/c.whl"]
    (entry,) = objects.objects
    assert (entry["relative_path"], entry["size"], entry["stored"]) == ("lib/b.whl", 3, True)
    assert entry["sha256"] == "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"


def test_diff_says_what_leads_from_one_version_to_the_other(
    flowsync: CommandLine, synced: list[Done]
) -> None:
    text, back, objects = flowsync.run_all(
        ("diff", "files", "1", "2"),
        ("diff", "files", "2", "1"),
        ("diff", "files", "1", "2", "--json"),
    )

    assert text.out.splitlines() == [
        "~ a.txt",
        "- lib/sub/c.whl",
        "+ new.txt",
        "- odd, name",
        "1 added, 2 removed, 1 changed from version 1 to 2 of files",
    ]
    assert back.out.splitlines()[0:3] == ["~ a.txt", "+ lib/sub/c.whl", "- new.txt"]
    assert [change["kind"] for change in objects.objects] == [
        "changed",
        "removed",
        "added",
        "removed",
    ]
    assert objects.objects[0]["before"]["size"] == 3


def test_export_writes_a_version_and_replaces_an_earlier_export(
    flowsync: CommandLine, synced: list[Done]
) -> None:
    target = flowsync.folder / "export"

    first = flowsync.run("export", "files", "export", "--version", "1")
    of_first = _files(target)
    second = flowsync.run("export", "files", str(target))

    assert first.out == "export: version 1 of files, 4 files, 11 B (4 linked, 0 copied)\n"
    assert of_first == FIRST
    assert (second.status, _files(target)) == (0, SECOND)
    assert not stat.S_IMODE((target / "a.txt").stat().st_mode) & 0o222


def test_export_leaves_a_folder_of_someone_else_alone(
    flowsync: CommandLine, synced: list[Done]
) -> None:
    folder = flowsync.folder / "precious"
    folder.mkdir()
    (folder / "thesis").write_text("text")

    done = flowsync.run("export", "files", str(folder))

    assert done.status == 1
    assert done.err.startswith(f"flowsync: cannot export to {folder}: it holds files")
    assert os.listdir(folder) == ["thesis"]


def test_status_says_where_everything_is_and_how_large(
    flowsync: CommandLine, synced: list[Done]
) -> None:
    text, objects = flowsync.run_all(("status",), ("status", "--json"))

    (facts,) = objects.objects
    home, database, store, *rest = text.out.splitlines()
    assert home == f"home      {flowsync.home}"
    assert database.startswith("database  ")
    assert store == f"store     {flowsync.home}/store, 6 blobs, 22 B"
    assert "  files: version 2, 3 units" in rest
    assert (facts["blobs"], facts["blob_bytes"]) == (6, 22)
    assert facts["database_bytes"] > 1_000_000
    assert {"name": "files", "version": 2, "present": 3} in facts["repositories"]


def test_commands_that_ended_well_leave_nothing_staged(
    flowsync: CommandLine, synced: list[Done]
) -> None:
    assert staged(flowsync.home) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("versions", "nobody"), "'nobody'"),
        (("show", "files", "7"), "7"),
        (("diff", "files", "1", "7"), "7"),
        (("export", "files", "out", "--version", "7"), "7"),
    ],
)
def test_what_does_not_exist_is_named_on_one_line(
    flowsync: CommandLine, synced: list[Done], arguments: tuple[str, ...], said: str
) -> None:
    done = flowsync.run(*arguments)

    assert (done.status, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith("flowsync: ")
    assert said in line


def test_json_of_a_sync_is_one_object_a_repository_and_nothing_else(
    flowsync: CommandLine, shared_upstream: Upstream
) -> None:
    url = publish(shared_upstream, {"a": b"json"}, "/json")

    done = flowsync.run("sync", "file", url, "-r", "json", "--json")

    assert done.err == ""
    (result,) = done.objects
    assert list(result) == [
        "repository",
        "version",
        "added",
        "removed",
        "present",
        "downloaded",
        "bytes",
        "skipped",
        "seconds",
        "error",
    ]
    assert isinstance(result.pop("seconds"), float)
    assert list(result.values()) == ["json", 1, 1, 0, 1, 1, 4, False, None]


@pytest.mark.parametrize("policy", ["on_demand", "streamed"])
def test_lazy_policies_record_where_the_bytes_are(
    flowsync: CommandLine, shared_upstream: Upstream, policy: str
) -> None:
    url = publish(shared_upstream, {"a": f"body for {policy}".encode()}, f"/{policy}")

    done = flowsync.run("sync", "file", url, "-r", policy, "--policy", policy, "--json")
    shown, exported = flowsync.run_all(("show", policy), ("export", policy, f"out-{policy}"))

    assert done.objects[0]["downloaded"] == 0
    assert shared_upstream.count(f"/{policy}/a") == 0
    assert shown.out.splitlines()[0].endswith("  a  (on demand)")
    assert exported.status == 1
    assert "'a' was never fetched" in exported.err


def test_a_mirror_that_would_lose_most_fails_unless_it_may(
    flowsync: CommandLine, shared_upstream: Upstream
) -> None:
    files = {f"{number}": b"" for number in range(120)}
    sync = (
        "sync",
        "file",
        publish(shared_upstream, files, "/shrinking"),
        "-r",
        "shrinking",
        "--mirror",
    )
    flowsync.run(*sync)
    publish(shared_upstream, {"0": b""}, "/shrinking")

    refused = flowsync.run(*sync)
    allowed = flowsync.run(*sync, "--max-removal", "1", "--json")

    assert refused.status == 1
    assert "would remove 119 of 120 units" in refused.complaints[0]
    assert allowed.objects[0]["removed"] == 119


def test_a_sync_may_go_on_without_what_cannot_be_had(
    flowsync: CommandLine, shared_upstream: Upstream
) -> None:
    url = publish(shared_upstream, {"here": b"here", "gone": b"gone"}, "/holes")
    shared_upstream.always("/holes/gone", Status(404))

    done = flowsync.run("sync", "file", url, "-r", "holes", "--on-error", "skip", "--json")

    assert done.status == 3
    (result,) = done.objects
    assert (result["version"], result["present"]) == (1, 1)
    assert [left_out["relative_path"] for left_out in result["left_out"]] == ["gone"]
    (line,) = done.err.splitlines()
    assert line.startswith("flowsync: holes: left out gone: ")


def test_who_stops_reading_is_not_answered_with_a_traceback(
    flowsync: CommandLine, synced: list[Done]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    running = flowsync.start("show", "files", stdout=writer)
    os.close(writer)
    done = running.wait()

    assert (done.status, done.err) == (1, "")


def _paths(done: Done) -> list[str]:
    return [line.split("  ")[-1] for line in done.out.splitlines()[:-1]]


def _files(folder: Path) -> dict[str, bytes]:
    marker = json.loads((folder / ".flowsync-export.json").read_text())
    assert marker["repository"] == "files"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".flowsync-export.json"
    }
