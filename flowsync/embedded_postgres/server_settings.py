"""How the server is set up for a sync engine.

    buffers, log           128 MB, 1 GB   256 MB, 2 GB   512 MB, 1 GB   512 MB, 2 GB   1 GB, 4 GB
    CPU, last units            126            119            101            107            94
    all                       88.8           84.1           78.7           79.9          75.2

Decisions: docs/decisions/0015.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

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
    # A sync loads in bulk. Nobody replicates this server, so a load into a table made in the same
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
