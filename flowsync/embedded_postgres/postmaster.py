"""The server's process as seen from outside: where it listens, which process it is, what a dead one
left, how it is ended.

1. A process id in a file is a rumour: after a reboot or a restart of a container it is another's.
   A process is a server of this cluster when its command line says so; no other is ever
   signalled. (The command line is readable for all; `cwd` and `exe` need rights that containers
   lack.)
2. What the file says about the socket counts only when the file names this very folder: a copy of a
   running cluster carries the original's.
3. Lock files of the dead are left to PostgreSQL, which looks for surviving backends as well; those
   that name a living stranger, or nobody, it would believe for ever, so these are removed.

Also here: the two locks by which processes share one server.
"""

import errno
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
# The two locks that let processes share one server: who is starting it, and who is using it.
#
# 1. `starting`: exclusive, one starter at a time.
# 2. `Hold`: shared for as long as an instance uses the server, and exclusive for the last one while
#    it stops the server. A starter takes its share before it looks at the server, so none stops
#    what it is about to use.
# 3. The kernel gives back the locks of the dead, so the count is right after a kill -9. Locks are
#    `flock`, which belongs to an open file and not to a process: instances of one process count
#    too. The folder must be on a local disk.
# 4. Files are closed across exec, so no program inherits a lock. They are unlocked before they are
#    closed, because a process forked in between has the same open file and would keep the lock for
#    as long as it lives.
# 5. Lock files are never removed: a lock on a removed file excludes nothing.

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
    """Return the process id of the cluster's server: the one that listens, or, when none does yet,
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


_LOCK_PAUSE_SECONDS = 0.02


@contextmanager
def starting(path: Path, deadline: float) -> Iterator[None]:
    """Be the only starter. Raises `EmbeddedPostgresError` when another one is at it until the
    deadline (monotonic seconds).
    """
    file = _open(path)
    try:
        _lock(file, fcntl.LOCK_EX, path, deadline)
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
        os.close(file)


class Hold:
    """One instance's share in the use of a server. Not for two threads at once: its owner keeps
    them apart.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._process = 0

    @property
    def held(self) -> bool:
        return self._file is not None

    def share(self, deadline: float) -> None:
        """Hold a share, waiting while the last holder stops the server. Nothing changes when it is
        held already.
        """
        if self._file is not None and self._process == os.getpid():
            return
        self.release()
        file = _open(self._path)
        try:
            _lock(file, fcntl.LOCK_SH, self._path, deadline)
        except BaseException:
            os.close(file)
            raise
        self._file, self._process = file, os.getpid()

    def is_last(self) -> bool:
        """Turn the share into the exclusive lock, and tell whether that was possible. Afterwards
        only `release` makes sense.

        When it was not, the share is gone (flock says so): of two that try at once, the second
        finds the first gone and is the last.
        """
        # In a forked process the lock is the parent's, who still uses the server.
        if self._file is None or self._process != os.getpid():
            return False
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give the share back. Nothing happens when there is none."""
        if self._file is None:
            return
        # A forked process closes its copy and leaves the lock to the parent.
        if self._process == os.getpid():
            fcntl.flock(self._file, fcntl.LOCK_UN)
        os.close(self._file)
        self._file = None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        advice = (
            "what lies in a home belongs to the owner of the home: correct that, or choose "
            "another home"
        )
        raise EmbeddedPostgresError(f"opening the lock {path}", _refused(path), advice) from error
    except OSError as error:
        raise EmbeddedPostgresError(
            f"opening the lock {path}", error.strerror or str(error)
        ) from error


def _refused(path: Path) -> str:
    refused = os.strerror(errno.EACCES)
    try:
        owner = (path if path.exists() else path.parent).stat().st_uid
    except OSError:
        return refused
    return f"{refused}; it belongs to user {owner}, this process runs as user {os.geteuid()}"


def _lock(file: int, kind: int, path: Path, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                found = "another process still holds it"
                raise EmbeddedPostgresError(f"waiting for the lock {path}", found) from None
        time.sleep(_LOCK_PAUSE_SECONDS)
