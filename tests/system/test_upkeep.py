"""Clean-up, verification and reclaiming on the command line."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import blake3
import psycopg
import pytest

from tests.integration.sync.damage import flip, remove
from tests.system.command import CommandLine
from tests.system.publishing import numbered, publish
from tests.system.records import expect_whole, recorded_artifacts
from tests.upstream.behaviours import Status
from tests.upstream.server import Upstream

FILES = {"a.txt": b"first file", "b.txt": b"second file", "c.txt": b"third file"}


def blob(home: Path, body: bytes) -> Path:
    name = blake3.blake3(body).hexdigest()
    return home / "store" / "blake3" / name[:2] / name


def forget(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("DELETE FROM repository")


def test_prune_says_what_would_go_and_with_yes_removes_it(
    flowsync: CommandLine, conninfo: str, upstream: Upstream
) -> None:
    flowsync.run("sync", "file", publish(upstream, FILES), "-r", "files")
    forget(conninfo)

    protected = flowsync.run("prune", "--yes")
    dry = flowsync.run("prune", "--older-than", "0")
    done = flowsync.run("prune", "--older-than", "0", "--yes", "--json")

    assert [each.status for each in (protected, dry, done)] == [0, 0, 0]
    assert "removed 0 units" in protected.out
    assert dry.out.splitlines() == [
        "would remove 3 units with 3 paths and 3 sources",
        "would remove 3 artifacts, 31 B",
        "would remove 0 blobs without a record, 0 B",
        "would remove 0 left staging folders, 0 B",
        "nothing was changed; --yes frees 31 B",
    ]
    (report,) = done.objects
    assert (report["applied"], report["contents"], report["artifact_bytes"]) == (True, 3, 31)
    assert recorded_artifacts(conninfo) == 0


def test_verify_tells_by_line_and_status_and_repairs_with_the_credentials_of_the_settings(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    login = {"max_retries": 0, "username": "mirror", "password": "env:PASSWORD"}
    flowsync.configure(repositories={"files": {"url": publish(upstream, FILES), "remote": login}})
    secret = {"PASSWORD": "secret"}
    flowsync.run("sync", env=secret)
    well = flowsync.run("verify")
    flip(blob(flowsync.home, b"first file"))
    remove(blob(flowsync.home, b"second file"))

    found = flowsync.run("verify", "files")
    unknown = flowsync.run("verify", "--repair", "--json")
    healed = flowsync.run("verify", "--repair", "--limit", "50MB/s", env=secret)
    again = flowsync.run("verify", "--json")

    assert [each.status for each in (well, found, unknown, healed, again)] == [0, 3, 3, 0, 0]
    assert well.out.startswith("store: verified 3 blobs, 31 B in ")
    assert well.out.endswith("0 missing, 0 damaged, 0 repaired\n")
    assert found.out.endswith("1 missing, 1 damaged, 0 repaired\n")
    right, wrong = (blake3.blake3(body).hexdigest() for body in (b"first file", b"first!file"))
    assert [line.partition(" (blob")[0] for line in sorted(found.complaints)] == [
        f"flowsync: a.txt of files: the blob has blake3 {wrong}, expected {right}",
        "flowsync: b.txt of files: the blob is missing",
    ]
    (report,) = unknown.objects
    assert (report["missing"], report["remaining"]) == (2, 2)
    assert "PASSWORD is not set" in report["findings"][0]["reason"]
    assert healed.out.endswith("2 missing, 0 damaged, 2 repaired\n")
    assert upstream.requests("/a.txt")[-1].headers["authorization"].startswith("Basic ")
    assert (again.objects[0]["checked"], again.objects[0]["remaining"]) == (3, 0)


def test_blobs_that_may_not_be_read_stay_where_they_are_and_are_right_again_afterwards(
    tmp_path: Path, conninfo: str, upstream: Upstream
) -> None:
    """Upstream is gone meanwhile: what was moved away could not be brought back."""
    flowsync = CommandLine(tmp_path, database_url=conninfo, prefix=without_rights(conninfo))
    flowsync.configure(repositories={"files": {"url": publish(upstream, FILES)}})
    assert flowsync.run("sync").status == 0
    upstream.always("/a.txt", Status(404))
    unreadable = blob(flowsync.home, b"first file")
    unreadable.chmod(0)

    found = flowsync.run("verify")
    tried = flowsync.run("verify", "--repair", "--json")
    unreadable.chmod(0o444)
    mended = flowsync.run("verify", "--json")

    assert [each.status for each in (found, tried, mended)] == [3, 3, 0]
    assert found.out.endswith("0 missing, 0 damaged, 1 unreadable, 0 repaired\n")
    (complaint,) = found.complaints
    assert "a.txt of files: the blob cannot be read: " in complaint
    assert "Permission denied" in complaint
    (finding,) = tried.objects[0]["findings"]
    assert (finding["kind"], finding["repaired"]) == ("unreadable", False)
    assert "404" in finding["reason"]
    assert tried.objects[0]["remaining"] == 1
    assert mended.objects[0]["checked"] == 3
    assert not (flowsync.home / "store" / "quarantine").exists()


def test_blob_that_the_disk_does_not_give_is_unreadable_and_can_be_repaired(
    tmp_path: Path, conninfo: str, upstream: Upstream
) -> None:
    flowsync = CommandLine(tmp_path, database_url=conninfo)
    flowsync.run("sync", "file", publish(upstream, FILES), "-r", "files")
    bad = blob(flowsync.home, b"first file")
    inode = bad.stat().st_ino
    failing = CommandLine(tmp_path, database_url=conninfo, prefix=failing_to_read(bad))

    found = failing.run("verify", "--json")
    kept = bad.stat().st_ino
    healed = failing.run("verify", "--repair", "--json")

    assert [each.status for each in (found, healed)] == [3, 0]
    (finding,) = found.objects[0]["findings"]
    assert finding["kind"] == "unreadable"
    assert "Input/output error" in finding["problem"]
    assert kept == inode
    assert (healed.objects[0]["unreadable"], healed.objects[0]["repaired"]) == (1, 1)
    assert bad.stat().st_ino != inode
    assert bad.read_bytes() == b"first file"


def test_prune_goes_on_after_what_it_cannot_remove(
    flowsync: CommandLine, conninfo: str, upstream: Upstream
) -> None:
    flowsync.run("sync", "file", publish(upstream, FILES), "-r", "files")
    forget(conninfo)
    folder = blob(flowsync.home, b"first file")
    folder.unlink()
    (folder / "inside").mkdir(parents=True)

    done = flowsync.run("prune", "--older-than", "0", "--yes")
    (folder / "inside").rmdir()
    folder.rmdir()
    again = flowsync.run("prune", "--older-than", "0", "--yes")

    assert (done.status, again.status) == (3, 0)
    assert "could not remove 1 blobs; the next prune tries again\n" in done.out
    assert "removed 2 artifacts" in done.out
    assert list((flowsync.home / "store" / "blake3").glob("*/*")) == []


def without_rights(conninfo: str) -> tuple[str, ...]:
    """Return the prefix of a command that obeys the permissions of files; skip the test where there
    is none, or where its database is closed to such a command: the server's account may own it.
    """
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root obeys permissions only without some of its rights, which needs setpriv")
    prefix = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    connecting = "import sys, psycopg; psycopg.connect(sys.argv[1]).close()"
    tried = subprocess.run(
        [*prefix, sys.executable, "-c", connecting, conninfo], check=False, capture_output=True
    )
    if tried.returncode != 0:
        said = tried.stderr.decode(errors="replace").rpartition("psycopg.")[2].partition("\n")[0]
        pytest.skip(f"root without some of its rights does not reach the database: {said}")
    return prefix


def failing_to_read(path: Path) -> tuple[str, ...]:
    """Return the prefix of a command to which the disk does not give the bytes of the file; skip
    the test where strace is missing.
    """
    calls = ("-e", "trace=read,readv", "-e", "inject=read,readv:error=EIO")
    prefix = ("strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), *calls)
    if shutil.which("strace") is None:
        pytest.skip("strace, which lets system calls fail, is not installed")
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("strace may not trace here")
    return prefix


def test_status_tells_how_old_the_oldest_verification_is(
    flowsync: CommandLine, conninfo: str, upstream: Upstream
) -> None:
    empty = flowsync.run("status")
    flowsync.run("sync", "file", publish(upstream, FILES), "-r", "files")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "UPDATE artifact SET verified_at = now() - interval '12 days 1 hour' WHERE size = 10"
        )
        connection.execute("UPDATE artifact SET verified_at = NULL WHERE size = 11")

    old = flowsync.run("status")

    assert "verified  nothing to verify yet\n" in empty.out
    assert "verified  the oldest verification is 12 days old, 1 blobs never\n" in old.out


def test_reclaim_frees_what_a_sync_fetches_again(flowsync: CommandLine, upstream: Upstream) -> None:
    sync = ("sync", "file", publish(upstream, FILES), "-r", "files")
    flowsync.run(*sync)

    dry = flowsync.run("reclaim", "files")
    kept = flowsync.run("reclaim", "files", "--keep-latest", "1", "--yes")
    done = flowsync.run("reclaim", "files", "1", "--yes", "--json")
    shown = flowsync.run("show", "files")
    again = flowsync.run(*sync)

    assert dry.out == (
        "files: would release 3 artifacts, 31 B; nothing was changed, --yes does it\n"
    )
    assert kept.out == "files: released 0 artifacts, 0 B; stay: 3 needed elsewhere\n"
    (report,) = done.objects
    assert (report["versions"], report["artifacts"], report["bytes"]) == ([1], 3, 31)
    assert shown.out.count("(on demand)") == 3
    assert "downloaded 3 files, 31 B" in again.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("prune", "--older-than", "soon"), "'soon' is no duration such as 30m, 24h or 7d"),
        (("verify", "--limit", "0"), "'0' is no rate such as 500kB/s"),
        (("reclaim", "files", "1", "--keep-latest", "2"), "not both"),
        (("reclaim",), "Missing argument 'NAME'"),
    ],
)
def test_wrong_usage_is_told(flowsync: CommandLine, arguments: tuple[str, ...], said: str) -> None:
    done = flowsync.run(*arguments)

    assert done.status == 2
    assert said in done.err
    assert not flowsync.home.exists()


def test_unrepairable_blob_is_told_with_the_reason(
    flowsync: CommandLine, upstream: Upstream
) -> None:
    flowsync.configure(repositories={"files": {"url": publish(upstream, FILES)}})
    flowsync.run("sync")
    remove(blob(flowsync.home, b"first file"))
    upstream.always("/a.txt", Status(403))

    done = flowsync.run("verify", "--quick", "--repair")

    assert done.status == 3
    (said,) = done.complaints
    assert "a.txt of files: the blob is missing" in said
    assert "403" in said


@pytest.mark.parametrize("kept", [0.9, 0.3])
def test_killed_prune_loses_nothing_and_the_next_completes_it(
    flowsync: CommandLine, conninfo: str, upstream: Upstream, kept: float
) -> None:
    """It is killed in the middle of its removals; what is recorded is whole then, and at the end
    nothing is left of what was to go.
    """
    files = numbered(1200)
    stay = {path: body for path, body in files.items() if path < "files/0100"}
    flowsync.run("sync", "file", publish(upstream, files, "/all"), "-r", "all")
    forget(conninfo)
    flowsync.run("sync", "file", publish(upstream, stay, "/some"), "-r", "some")

    pruning = flowsync.start("prune", "--older-than", "0", "--yes")
    deadline = time.monotonic() + 30
    while recorded_artifacts(conninfo) > 1200 * kept and time.monotonic() < deadline:
        pass
    killed = pruning.stop(signal.SIGKILL)
    expect_whole(conninfo, flowsync.home)
    done = flowsync.run("prune", "--older-than", "0", "--yes")
    verified = flowsync.run("verify", "some")

    assert done.status == verified.status == 0
    assert killed.status in {0, -signal.SIGKILL}
    expect_whole(conninfo, flowsync.home)
    assert recorded_artifacts(conninfo) == 100
    assert len(list((flowsync.home / "store" / "blake3").glob("*/*"))) == 100
