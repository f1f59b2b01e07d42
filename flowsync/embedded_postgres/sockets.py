"""Where a server is spoken to: the folder of its socket, the connection string, and whether it
answers.

1. The socket lies in the cluster's own folder, which is closed to others. Where that cannot be
   addressed (the path is longer than the kernel allows, or holds a character that libpq or an
   encoding could take for something else), it lies in a folder of our own below the temporary one,
   closed and checked.
2. A connection takes nothing from the caller's environment that libpq lets a connection string
   decide: each of its parameters is given. What it reads from the environment alone
   (`engine/home.py`) is the program's to clean.
3. Alive means that the socket accepts, ready means that a session can be opened. That a process id
   exists means nothing.

Decisions: docs/decisions/0015.
"""

import hashlib
import os
import re
import socket
import stat
import struct
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from flowsync.embedded_postgres.ownership import SystemUser
from flowsync.errors import EmbeddedPostgresError

SOCKET = ".s.PGSQL.5432"
# sockaddr_un has 108 bytes, the last one is zero.
LONGEST_ADDRESS = 107
_ADDRESSABLE: Final = re.compile(rb"/[A-Za-z0-9 ._+~=/-]*")
"""Paths that mean the same to libpq, to the server and in every encoding."""

_NEUTRAL: Final = {
    "hostaddr": "",
    "port": "5432",
    "user": "postgres",
    "password": "",
    "passfile": f"{os.devnull}/none",
    "connect_timeout": "0",
    "client_encoding": "UTF8",
    "options": "",
    "application_name": "flowsync",
    "sslmode": "disable",
    "sslnegotiation": "postgres",
    "sslcompression": "0",
    "sslcert": "",
    "sslkey": "",
    "sslcertmode": "disable",
    "sslrootcert": "",
    "sslcrl": "",
    "sslcrldir": "",
    "sslsni": "0",
    "ssl_min_protocol_version": "",
    "ssl_max_protocol_version": "",
    "requirepeer": "",
    "require_auth": "",
    "channel_binding": "disable",
    "min_protocol_version": "3.0",
    "max_protocol_version": "3.0",
    "gssencmode": "disable",
    "krbsrvname": "postgres",
    "gsslib": "",
    "gssdelegation": "0",
    "target_session_attrs": "any",
    "load_balance_hosts": "disable",
}
"""What each parameter is that could come from a `PG*` variable, if libpq knows it."""

_PATIENCE_SECONDS = 2
# What SO_PEERCRED answers: process, user, group.
_CREDENTIALS = struct.Struct("3i")


def planned_socket_folder(cluster: Path) -> Path:
    """Where a server of the cluster shall listen. Raises `EmbeddedPostgresError` when every place
    has too long a path.
    """
    digest = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]
    aside = Path(tempfile.gettempdir(), f"flowsync-{digest}")
    for folder in (cluster, aside):
        address = os.fsencode(folder / SOCKET)
        if len(address) <= LONGEST_ADDRESS and _ADDRESSABLE.fullmatch(address):
            return folder
    raise EmbeddedPostgresError(
        f"finding a place for the socket of {cluster}",
        f"{aside / SOCKET} has more than {LONGEST_ADDRESS} bytes, or others than letters, "
        "digits and ' ._+~=-'",
        "set TMPDIR to a shorter or plainer path",
    )


def prepare_socket_folder(folder: Path, cluster: Path, account: SystemUser) -> None:
    """Make the folder if it is not the cluster's own. Raises `EmbeddedPostgresError` when someone
    else was there first.
    """
    if folder == cluster:
        return
    doing = f"making the folder {folder} for the socket"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            account.give(folder)
            found = folder.lstat()
    except OSError as error:
        raise EmbeddedPostgresError(doing, str(error)) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & 0o077:
        raise EmbeddedPostgresError(
            doing,
            f"it exists, belongs to user {found.st_uid} and is {stat.filemode(found.st_mode)}",
        )


def conninfo(socket_folder: Path, database: str) -> str:
    """Return the libpq connection string. It gives every parameter, so that no `PG*`
    variable does.
    """
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    given = {name: value for name, value in _NEUTRAL.items() if name in known}
    return make_conninfo(host=str(socket_folder), dbname=database, **given)


def listener(socket_folder: Path) -> int | None:
    """Return the process id that accepts connections there, or `None` when there is none.

    It is the kernel's word, not that of a file. 0 stands for a process in a container that cannot
    be seen into.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PATIENCE_SECONDS)
        try:
            probe.connect(str(socket_folder / SOCKET))
        except OSError:
            return None
        found = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(found)[0]
    return pid


def refusal(socket_folder: Path) -> str | None:
    """Open a session and close it. Returns what was said instead, or none when that went well."""
    where = conninfo(socket_folder, "postgres")
    try:
        psycopg.connect(where, connect_timeout=_PATIENCE_SECONDS).close()
    except psycopg.Error as error:
        return str(error)
    return None


def remove_socket_folder(folder: Path, cluster: Path) -> None:
    """Remove the folder of a stopped server if it is not the cluster's own. Something unexpected in
    it stays.
    """
    if folder != cluster:
        with suppress(OSError):
            folder.rmdir()
