"""The server's process as seen from outside: where it listens, which process it is, what a dead one
left, how it is ended.

1. A process id in a file is a rumour: after a reboot or a restart of a container it is someone
   else's. A process is a server of this cluster when its command line says so; no other is ever
   signalled. (The command line is readable for all; `cwd` and `exe` need rights that containers
   lack.)
2. What the file says about the socket counts only when the file names this very folder: a copy of a
   running cluster carries the original's.
3. Lock files of the dead are left to PostgreSQL, which looks for surviving backends as well; those
   that name a living stranger, or nobody, it would believe for ever, so these are removed.
"""

import os
import signal
import time
from pathlib import Path

from flowsync.embedded_postgres.sockets import SOCKET, listener, planned_socket_folder
from flowsync.errors import EmbeddedPostgresError

_PROC = Path(os.sep, "proc")
# Lines of postmaster.pid, counted from zero.
_PID, _FOLDER, _SOCKET_FOLDER = 0, 1, 4
# Sessions are cut off, memory is written out: on a slow disk that takes its time.
_FAST_SECONDS = 60.0
# Without writing out; PostgreSQL itself kills what is left after 5 s.
_IMMEDIATE_SECONDS = 10.0
_PAUSE_SECONDS = 0.01


def socket_folder(cluster: Path) -> Path:
    """Where the cluster's server listens, or would."""
    lines = _lines(cluster / "postmaster.pid")
    if len(lines) > _SOCKET_FOLDER and lines[_FOLDER] == str(cluster) and lines[_SOCKET_FOLDER]:
        return Path(lines[_SOCKET_FOLDER])
    return planned_socket_folder(cluster)


def is_postmaster(pid: int, cluster: Path) -> bool:
    """Whether that process is a server of the cluster. False for a zombie: it has no command line
    any more.
    """
    try:
        arguments = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.path.basename(arguments[0]) == b"postgres" and os.fsencode(cluster) in arguments


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie. For one that was just started: its command line
    is empty until the kernel is done.
    """
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return False
    # The state follows the name, which stands in parentheses and may hold some itself.
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


def running_pid(cluster: Path) -> int | None:
    """Return the process id of the cluster's server: whoever listens, or, when nobody does yet,
    whom the file names.
    """
    for pid in (listener(socket_folder(cluster)), _recorded_pid(cluster / "postmaster.pid")):
        if pid is not None and is_postmaster(pid, cluster):
            return pid
    return None


def remove_stale_locks(cluster: Path, socket_folder: Path) -> None:
    """Remove the lock files that would keep a server from starting although none runs."""
    for path in (cluster / "postmaster.pid", socket_folder / f"{SOCKET}.lock"):
        pid = _recorded_pid(path)
        if pid is None or (_exists(pid) and not is_postmaster(pid, cluster)):
            path.unlink(missing_ok=True)


def end(pid: int, cluster: Path) -> None:
    """End the server and wait until its process is gone. Raises `EmbeddedPostgresError` when it
    does not go.
    """
    for number, seconds in ((signal.SIGINT, _FAST_SECONDS), (signal.SIGQUIT, _IMMEDIATE_SECONDS)):
        deadline = time.monotonic() + seconds
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        while time.monotonic() < deadline:
            if not is_postmaster(pid, cluster):
                return
            time.sleep(_PAUSE_SECONDS)
    waited = _FAST_SECONDS + _IMMEDIATE_SECONDS
    raise EmbeddedPostgresError(
        f"stopping the server of {cluster}", f"process {pid} still runs after {waited:.0f} s"
    )


def _exists(pid: int) -> bool:
    return (_PROC / str(pid)).exists()


def _recorded_pid(path: Path) -> int | None:
    """Return the process id in a lock file, or none. It is negative in a server of a single
    user.
    """
    lines = _lines(path)
    try:
        return abs(int(lines[_PID])) or None
    except (IndexError, ValueError):
        return None


def _lines(path: Path) -> list[str]:
    try:
        return os.fsdecode(path.read_bytes()).split("\n")
    except OSError:
        return []
