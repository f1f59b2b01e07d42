"""The two locks that let processes share one server: who is starting it, and who is using it.

1. `starting`: exclusive, one starter at a time.
2. `Hold`: shared for as long as an instance uses the server, and exclusive for the last one while
   it stops the server. A starter takes its share before it looks at the server, so nobody stops
   what it is about to use.
3. The kernel gives back the locks of the dead, so the count is right after a kill -9. Locks are
   `flock`, which belongs to an open file and not to a process: instances of one process count too.
   The folder must be on a local disk.
4. Files are closed across exec, so no program inherits a lock. They are unlocked before they are
   closed, because a process forked in between has the same open file and would keep the lock for as
   long as it lives.
5. Lock files are never removed: a lock on a removed file excludes nobody.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowsync.errors import EmbeddedPostgresError

_PAUSE_SECONDS = 0.02


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
        time.sleep(_PAUSE_SECONDS)
