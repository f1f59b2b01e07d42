"""The clusters of an embedded server: one folder of data for each major version of PostgreSQL.

A cluster is made in a temporary folder beside its place and renamed there when it is complete and
durable: a half-made one is never seen. What a killed maker left is removed by the next. All of this
happens under the lock of the starters.

Also here: how much memory there is, and how the server is set up.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from flowsync.embedded_postgres.binaries import Binaries
from flowsync.embedded_postgres.ownership import SystemUser
from flowsync.errors import EmbeddedPostgresError

# How much memory there is for the server: that of the machine, or less where a control group bounds
# this process.
#
# A bound of a group holds for all groups below it, so each one from ours up to the root is asked.
# Sources of the formats: cgroups(7), and `memory.max` and `memory.limit_in_bytes` in the kernel's
# admin guide.

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


# How the server is set up for a sync engine.
#
#     buffers, log           128 MB, 1 GB   256 MB, 2 GB   512 MB, 1 GB   512 MB, 2 GB   1 GB, 4 GB
#     CPU, last units            126            119            101            107            94
#     all                       88.8           84.1           78.7           79.9          75.2
#
# The reasons stand in docs/decisions/0015.

_MIB: Final = 1 << 20

_LEAST_BUFFERS: Final = 128
_MOST_BUFFERS: Final = 512
"""MiB of pages that the server keeps, at least and at most; it takes them from the machine as it
fills them.
"""

SETTINGS = {
    # Only the socket in a folder closed to others: connections need no password.
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # Several engines with a pool each.
    "max_connections": "100",
    # A sync loads in bulk. This server is not replicated, so a load into a table made in the same
    # transaction skips the log (WAL).
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    # After a checkpoint each page goes into the log as a whole when it changes first, and in a
    # large catalog a batch changes pages everywhere.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # Recorded means durable.
    "fsync": "on",
    "synchronous_commit": "on",
    # Tables grow by bursts and are read right after.
    "autovacuum_naptime": "15s",
    # Statements are short: neither compiling nor parallel workers pay. Workers would also need more
    # than the 64 MB of shared memory that a container has.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "random_page_cost": "1.1",
    # What a killed client was waiting for or holding is given back within seconds, not at the end
    # of its statement.
    "client_connection_check_interval": "2s",
    # The order and the meaning of times do not depend on the machine.
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A failed statement is told to its client. The log keeps what happens to the server, and so
    # stays small.
    "logging_collector": "off",
    "log_min_messages": "log",
    "log_checkpoints": "off",
}


def server_command(
    postgres: Path, cluster: Path, socket_folder: Path, extra: Mapping[str, str], memory: int
) -> list[str]:
    """Return the command that serves the cluster on a socket in that folder, on a machine with so
    much `memory` (bytes).
    """
    quoted = str(socket_folder).replace('"', '""')
    fitting = {"shared_buffers": shared_buffers(memory)}
    chosen = {
        **SETTINGS,
        **fitting,
        **extra,
        "unix_socket_directories": f'"{quoted}"',
        "port": "5432",
    }
    options = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
    return [str(postgres), "-D", str(cluster), *options]


def shared_buffers(memory: int) -> str:
    """Return how much of `memory` (bytes) the server keeps pages in: a quarter, as its manual
    advises, within bounds.
    """
    return f"{min(max(memory // 4 // _MIB, _LEAST_BUFFERS), _MOST_BUFFERS)}MB"


def initdb_command(initdb: Path, major: int, folder: Path) -> list[str]:
    """Return the command that makes a cluster whose order of text is that of code points, whatever
    the machine's language.
    """
    locale = ["--no-locale"]
    if major >= 17:
        locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    trust = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions"]
    return [str(initdb), f"--pgdata={folder}", *trust, *locale]


_PREFIX = ".init-"
# The server cuts paths off at 1024 bytes, and those of its files are longer.
_LONGEST_PATH = 900


def cluster_folder(folder: Path, major: int) -> Path:
    """Return where the cluster of a major version lies."""
    return folder / f"pg{major}"


def existing_majors(folder: Path) -> list[int]:
    """Return the major versions that have a complete cluster in the folder, which need not
    exist.
    """
    names = [path.parent.name for path in folder.glob("pg*/PG_VERSION")]
    return [int(name[2:]) for name in names if name[2:].isdecimal()]


def make_folder(folder: Path) -> None:
    """Make the folder that holds everything, unless it exists. Raises `EmbeddedPostgresError` when
    it cannot be made.
    """
    # Root may have to let the server's account pass through; whatever lies in the folder is closed
    # to others by itself.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    if len(os.fsencode(folder)) > _LONGEST_PATH:
        raise EmbeddedPostgresError(
            f"making the folder {folder}",
            f"its path has more than {_LONGEST_PATH} bytes",
            "choose a home with a shorter path",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"making the folder {folder}", str(error), "choose a home that this user can write"
        ) from error


def make_cluster(cluster: Path, binaries: Binaries, account: SystemUser, deadline: float) -> None:
    """Make the cluster. Raises `EmbeddedPostgresError`, and leaves nothing behind, when that fails
    or takes until the deadline.
    """
    doing = f"making the cluster {cluster}"
    for leftover in cluster.parent.glob(f"{_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        fresh = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=cluster.parent))
        try:
            maker = account.maker or account
            maker.give(fresh)
            maker.run(doing, initdb_command(binaries.initdb, binaries.major, fresh), deadline)
            if maker.owner != account.owner:
                account.give_whole(fresh)
            fresh.rename(cluster)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        _make_durable(cluster.parent)
    except OSError as error:
        raise EmbeddedPostgresError(doing, str(error)) from error


def _make_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
