"""How much memory there is for the server: that of the machine, or less where a control group
bounds this process.

A bound of a group holds for all groups below it, so each one from ours up to the root is asked.
Sources of the formats: cgroups(7), and `memory.max` and `memory.limit_in_bytes` in the kernel's
admin guide.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_GROUPS: Final = Path("/sys/fs/cgroup")


def bytes_at_hand(groups: Path = _GROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Return the bytes of memory that this process and its children may use at most."""
    bounds = [_bound(file) for file in _bounding_files(groups, membership)]
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *(bound for bound in bounds if bound is not None)])


def _bounding_files(groups: Path, membership: Path) -> Iterator[Path]:
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", maxsplit=2)
        if controllers == "":
            root, name = groups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for above in (group, *group.parents):
            yield root / above / name


def _bound(file: Path) -> int | None:
    """Return what the file bounds, or `None` when it bounds nothing. In a container, the path to
    our own group may lead nowhere.
    """
    try:
        found = file.read_text().strip()
    except OSError:
        return None
    return int(found) if found.isdecimal() else None
