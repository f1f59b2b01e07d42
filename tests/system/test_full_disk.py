"""A disk that is full, embedded database and all: what is wrong is named, and what frees space goes
on.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounts import mounted
from tests.system.command import CommandLine
from tests.system.publishing import publish
from tests.upstream.server import Upstream

SIZE = 400 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    options = ["-t", "tmpfs", "-o", f"size={SIZE}", "none"]
    with mounted(tmp_path / "disk", *options) as folder:
        yield folder


def fill(disk: Path) -> None:
    """Write until the disk takes no byte more."""
    for chunk in (bytes(1 << 20), bytes(4096)):
        with (disk / f"ballast-{len(chunk)}").open("wb", buffering=0) as file:
            try:
                while file.write(chunk) == len(chunk):
                    pass
            except OSError:
                continue


def test_prune_frees_space_on_a_full_disk_where_nothing_else_can_start(
    tmp_path: Path, disk: Path, upstream: Upstream
) -> None:
    flowsync = CommandLine(tmp_path, database_url=None, home=disk / "home")
    large = {f"{number}": bytes([number]) * (2 << 20) for number in range(20)}
    flowsync.configure(
        repositories={
            "files": {"url": publish(upstream, large), "mirror": True, "max_removal": 1.0}
        }
    )
    first = flowsync.run("sync")
    publish(upstream, {"small": b"small"})
    second = flowsync.run("sync")
    fill(disk)

    refused = flowsync.run("status")
    deleted = flowsync.run("delete", "files", "1")
    fill(disk)
    pruned = flowsync.run("prune", "--older-than", "0s", "--yes")
    again = flowsync.run("status")

    assert (first.status, second.status) == (0, 0), (first.err, second.err)
    assert refused.status == 1
    (complaint,) = refused.complaints
    assert "No space left on device" in complaint
    assert str(flowsync.home) in complaint
    assert (deleted.status, deleted.complaints) == (0, [])
    assert (pruned.status, pruned.complaints) == (0, [])
    assert "removed 20 units" in pruned.out
    assert (again.status, again.complaints) == (0, [])


def test_server_that_finds_no_room_says_so_and_what_frees_some(tmp_path: Path, disk: Path) -> None:
    flowsync = CommandLine(tmp_path, database_url=None, home=disk / "home")
    assert flowsync.run("status").status == 0
    # Room for the store's folders and locks, not for the words of the server.
    fill(disk)
    (disk / "ballast-4096").unlink()
    for blocks in range(8):
        (disk / f"small-{blocks}").touch()

    refused = flowsync.run("status")

    assert refused.status == 1
    (complaint,) = refused.complaints
    assert "No space left on device" in complaint
    assert str(flowsync.home) in complaint


def test_reserve_is_taken_where_there_is_room_and_given_up_by_what_frees_space(
    tmp_path: Path, disk: Path
) -> None:
    flowsync = CommandLine(tmp_path, database_url=None, home=disk / "home")

    assert flowsync.run("status").status == 0
    taken = (flowsync.home / "reserve").stat()
    fill(disk)
    assert flowsync.run("prune", "--yes").status == 0

    assert taken.st_blocks * 512 >= 48 << 20
    assert (flowsync.home / "reserve").stat().st_ino != taken.st_ino
    for ballast in disk.glob("ballast-*"):
        ballast.unlink()
    assert flowsync.run("status").status == 0
    assert (flowsync.home / "reserve").stat().st_blocks == taken.st_blocks
