"""Homes that cannot be written, disks that are full, databases that do not answer: told in one
line, and nothing is half-done.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.command import CommandLine, Done
from tests.system.publishing import publish
from tests.system.records import expect_whole, staged, versions
from tests.upstream.server import Upstream

NOWHERE = "http://127.0.0.1:1/PULP_MANIFEST"
SYNC = ("sync", "file", NOWHERE, "-r", "files")


def expect_one_line(done: Done, *parts: str) -> None:
    """Expect a failure with one line on stderr that has the parts, and without a traceback or a
    result on stdout.
    """
    assert (done.status, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith("flowsync: ")
    for part in parts:
        assert part in line


def test_a_home_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = tmp_path / "file" / "home"

    done = CommandLine(tmp_path, database_url=None, home=home).run("status")

    expect_one_line(done, f"cannot create flowsync's home {home}", "Not a directory", "--home")


def test_a_home_that_is_a_file_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("precious")

    done = CommandLine(tmp_path, database_url=None, home=home).run("versions", "files")

    # click checks the option itself.
    assert done.status == 2
    assert str(home) in done.err
    assert home.read_text() == "precious"


def test_a_home_in_a_file_system_that_takes_nothing_is_named(tmp_path: Path) -> None:
    home = Path("/proc/flowsync")

    done = CommandLine(tmp_path, database_url=None, home=home).run("status")

    expect_one_line(done, f"cannot create flowsync's home {home}", "No such file or directory")


def test_a_home_without_permission_to_write_is_named(tmp_path: Path, plain_user: list[str]) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o555)

    done = CommandLine(tmp_path, database_url=None, prefix=plain_user).run("status")

    expect_one_line(done, f"flowsync's home {home} is not writable", "--home")
    assert os.listdir(home) == []


@pytest.mark.parametrize(
    "command", [SYNC, ("status",), ("versions", "files"), ("export", "a", "b")]
)
def test_a_database_that_is_not_there_is_named_without_its_password(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    url = "postgresql://mirror:secret@127.0.0.1:1/flowsync"

    done = CommandLine(tmp_path, database_url=url).run(*command)

    assert done.status == 1
    (line,) = done.err.splitlines()
    assert line.startswith("flowsync: database 'flowsync' at 127.0.0.1:1: ")
    assert "Connection refused" in line
    assert "secret" not in line


def test_json_has_a_result_although_nothing_could_be_opened(tmp_path: Path) -> None:
    flowsync = CommandLine(tmp_path, database_url="postgresql://mirror@127.0.0.1:1/flowsync")
    flowsync.configure(repositories={"one": {"url": NOWHERE}, "two": {"url": NOWHERE}})

    done = flowsync.run("sync", "--json")

    assert [result["repository"] for result in done.objects] == ["one", "two"]
    assert all("Connection refused" in result["error"] for result in done.objects)
    assert len(done.err.splitlines()) == 1


def test_a_database_that_accepts_and_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://nobody@127.0.0.1:{port}/flowsync?connect_timeout=2"
        done = CommandLine(tmp_path, database_url=url).run("status")

    expect_one_line(done, f"database 'flowsync' at 127.0.0.1:{port}: ", "timeout")
    assert done.seconds < 10


def test_a_full_disk_stores_nothing_wrong_and_the_next_run_with_room_succeeds(
    small_disk: Path, tmp_path: Path, conninfo: str, upstream: Upstream
) -> None:
    files = {f"{number}.bin": bytes([number]) * 200_000 for number in range(40)}
    url = publish(upstream, files)
    flowsync = CommandLine(tmp_path, database_url=conninfo, home=small_disk / "home")
    flowsync.configure(repositories={"files": {"url": url}})

    full = flowsync.run("sync", "--json")
    expect_whole(conninfo, flowsync.home)
    after = versions(conninfo, "files")
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    again = flowsync.run("sync", "--json")

    assert full.status == 1
    (line,) = full.complaints
    assert "No space left on device" in line
    assert str(flowsync.home / "store") in line
    assert full.objects[0]["version"] is None
    assert after == []
    assert again.objects[0]["version"] == 1
    assert staged(flowsync.home) == []
    expect_whole(conninfo, flowsync.home)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system for the test")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def plain_user() -> list[str]:
    """Give the start of a command that is bound by permissions: nothing for a plain user; root
    gives up its right to ignore them.
    """
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv to make root give up its rights")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("root cannot give up its rights here")
    return prefix
