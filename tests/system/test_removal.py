"""`flowsync remove`, and the removal of old records of runs."""

import psycopg

from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.system.records import versions
from tests.upstream.behaviours import Hold
from tests.upstream.server import Upstream


def test_a_repository_is_removed_when_that_was_asked_for(
    flowsync: CommandLine, upstream: Upstream, conninfo: str
) -> None:
    url = publish(upstream, {"a": b"1", "b": b"2"})
    flowsync.configure(repositories={"files": {"url": url}})
    flowsync.run_all(("sync",), ("sync", "file", url, "-r", "copy"))
    flowsync.run("protect", "files", "1")

    told, kept = flowsync.run_all(("remove", "files"), ("remove", "files", "--yes"))
    flowsync.run("unprotect", "files", "1")
    removed = flowsync.run("remove", "files", "--yes")
    gone, again, pruned = flowsync.run_all(
        ("remove", "files", "--yes"),
        ("remove", "copy", "--json"),
        ("prune", "--older-than", "0s", "--json"),
    )

    assert (told.status, "1 of the versions are protected" in told.out) == (0, True)
    assert (kept.status, "its version 1 is protected" in kept.err) == (1, True)
    assert removed.out.startswith("files: removed 1 versions with 2 units, 1 runs; ")
    assert "still stands in flowsync.toml" in removed.out
    assert (gone.status, gone.err) == (1, "flowsync: no repository is named 'files'\n")
    assert again.objects == [
        {
            "repository": "copy",
            "applied": False,
            "versions": 1,
            "protected": 0,
            "units": 2,
            "runs": 1,
        }
    ]
    assert (versions(conninfo, "files"), versions(conninfo, "copy")) == ([], [(1, True)])
    # The other repository needs all bytes.
    assert pruned.objects[0]["contents"] == 0


def test_a_repository_that_is_synced_is_not_removed_meanwhile(
    flowsync: CommandLine, upstream: Upstream, conninfo: str
) -> None:
    url = publish(upstream, {"a": b"1", "b": b"2"})
    upstream.always("/b", Hold())
    running = flowsync.start("sync", "file", url, "-r", "files")
    upstream.wait_for(3)

    refused = flowsync.run("remove", "files", "--yes", "--no-wait")
    upstream.release()
    done = running.wait()

    assert (refused.status, "repository 'files' is busy" in refused.err) == (1, True)
    assert (done.status, versions(conninfo, "files")) == (0, [(1, True)])


def test_records_of_old_runs_are_removed_when_that_was_asked_for(
    flowsync: CommandLine, upstream: Upstream, conninfo: str
) -> None:
    url = publish(upstream, {"a": b"1"})
    for _ in range(3):
        flowsync.run("sync", "file", url, "-r", "files")
    with psycopg.connect(conninfo) as connection:
        connection.execute("UPDATE run SET ended_at = ended_at - interval '100 days'")

    told = flowsync.run("runs", "--remove-older-than", "90d")
    young = flowsync.run("runs", "files", "--remove-older-than", "101d", "--json")
    removed = flowsync.run("runs", "files", "--remove-older-than", "90d", "--yes")
    listed = flowsync.run("runs", "--json")
    explained = flowsync.run("why", "files", "a")
    nobody = flowsync.run("runs", "nobody", "--remove-older-than", "90d")
    wrong = flowsync.run("runs", "--yes")

    assert told.out == "would remove the records of 2 runs; nothing was changed, --yes does it\n"
    assert young.objects == [{"removed": 0, "applied": False}]
    assert removed.out == "removed the records of 2 runs\n"
    assert [run["number"] for run in listed.objects] == [3]
    assert (explained.status, "added by version 1, file" in explained.out) == (0, True)
    assert (nobody.status, wrong.status) == (1, 2)
