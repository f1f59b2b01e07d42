"""File systems, and sandboxes, that lack something: what can go on goes on, and says once what is
not as it should be.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mounts import mounted
from tests.system import refusing
from tests.system.command import CommandLine, Done
from tests.system.publishing import numbered, publish
from tests.upstream.server import Upstream

FILES = numbered(30)
"""So many that the store flushes the whole file system where it can."""


def without(*rules: str) -> tuple[str, ...]:
    """Return the prefix of a command to which system calls are refused; skip the test where that
    cannot be done.
    """
    prefix = (sys.executable, refusing.__file__, *rules, "--")
    if subprocess.run([*prefix, "true"], check=False).returncode == refusing.NOT_HERE:
        pytest.skip("there is no filter of system calls for this machine")
    return prefix


def sync_and_export(flowsync: CommandLine, url: str, target: Path) -> list[Done]:
    """Sync, export, and export once more over the first export."""
    done = [flowsync.run("sync", "file", url, "-r", "files")]
    done += [flowsync.run("export", "files", str(target)) for _ in range(2)]
    for path, body in FILES.items():
        assert (target / path).read_bytes() == body
    return done


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (["fsync=EINVAL", "syncfs=ENOSYS"], "cannot make files durable: Invalid argument"),
        (["fsync=EOPNOTSUPP", "syncfs=EOPNOTSUPP"], "cannot make folders durable: Operation not"),
        (["chmod,fchmod,fchmodat=EPERM"], "cannot make files read-only: Operation not permitted"),
        (["syncfs=ENOSYS"], None),
        (["sync_file_range=ENOSYS"], None),
        (["link,linkat=EPERM"], None),
        (["link,linkat=ENOSYS", "renameat2=ENOSYS"], None),
        (["renameat2=EPERM", "memfd_create=EPERM"], None),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_syncs_and_exports_go_on_where_a_call_is_refused(
    tmp_path: Path, conninfo: str, upstream: Upstream, rules: list[str], told: str | None
) -> None:
    flowsync = CommandLine(tmp_path, database_url=conninfo, prefix=without(*rules))

    done = sync_and_export(flowsync, publish(upstream, FILES), tmp_path / "out")

    assert [each.status for each in done] == [0, 0, 0]
    warnings = [line for line in done[0].err.splitlines() if "going on without" in line]
    if told is None:
        assert warnings == []
    else:
        assert sum(told in line for line in warnings) == 1
        assert all(line.startswith("the file system ") for line in warnings)


def test_place_without_locks_is_named(tmp_path: Path, conninfo: str, upstream: Upstream) -> None:
    url = publish(upstream, FILES)
    flowsync = CommandLine(tmp_path, database_url=conninfo, prefix=without("flock=ENOLCK"))

    done = flowsync.run("sync", "file", url, "-r", "files")

    assert done.status == 1
    (complaint,) = done.complaints
    assert "opening the store in " in complaint
    assert "No locks available (the file system " in complaint
    assert "has no file locks)" in complaint


def test_file_system_without_links_and_modes_takes_exports_and_the_store(
    tmp_path: Path, conninfo: str, upstream: Upstream
) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    try:
        subprocess.run(["mkfs.vfat", str(image)], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("mkfs.vfat, of the package dosfstools, is not installed")
    with mounted(tmp_path / "stick", "-t", "vfat", "-o", "loop", str(image)) as stick:
        elsewhere = CommandLine(tmp_path, database_url=conninfo)
        first = sync_and_export(elsewhere, publish(upstream, FILES), stick / "out")
        there = CommandLine(tmp_path, database_url=conninfo, home=stick / "home")
        verified = there.run("verify", "--repair", "--json")
        again = there.run("export", "files", str(stick / "out"))

    assert [each.status for each in (*first, verified, again)] == [0] * 5
    assert "copied" in again.out
    assert verified.objects[0]["repaired"] == 30
