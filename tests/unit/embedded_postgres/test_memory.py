"""The memory at hand, read from files as the kernel writes them."""

import os
from pathlib import Path

from flowsync.embedded_postgres.cluster import bytes_at_hand

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def member_of(folder: Path, lines: str) -> Path:
    file = folder / "membership"
    file.write_text(lines)
    return file


def bound(folder: Path, file: str, found: str) -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(f"{found}\n")


def test_without_groups_it_is_the_memory_of_the_machine(tmp_path: Path) -> None:
    assert bytes_at_hand(tmp_path, tmp_path / "nothing") == MACHINE


def test_group_bounds_it(tmp_path: Path) -> None:
    bound(tmp_path, "system.slice/sync.service/memory.max", "1048576")

    assert (
        bytes_at_hand(tmp_path, member_of(tmp_path, "0::/system.slice/sync.service\n")) == 1 << 20
    )


def test_tightest_of_the_groups_above_counts(tmp_path: Path) -> None:
    bound(tmp_path, "a/b/c/memory.max", "4194304")
    bound(tmp_path, "a/b/memory.max", "max")
    bound(tmp_path, "a/memory.max", "2097152")

    assert bytes_at_hand(tmp_path, member_of(tmp_path, "0::/a/b/c\n")) == 2 << 20


def test_group_of_a_container_is_its_root(tmp_path: Path) -> None:
    """Inside, the path of the group may be one of the host's, which is not there."""
    bound(tmp_path, "memory.max", "3145728")

    assert bytes_at_hand(tmp_path, member_of(tmp_path, "0::/docker/0123\n")) == 3 << 20


def test_first_version_of_groups_has_a_tree_of_its_own_for_memory(tmp_path: Path) -> None:
    bound(tmp_path, "memory/jobs/memory.limit_in_bytes", "5242880")
    bound(tmp_path, "memory/memory.limit_in_bytes", "9223372036854771712")
    lines = "9:name=systemd:/\n4:cpu,memory:/jobs\n0::/\n"

    assert bytes_at_hand(tmp_path, member_of(tmp_path, lines)) == 5 << 20
