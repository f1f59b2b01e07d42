"""The identity that the programs of PostgreSQL run under, and the two ways to run one: to its end,
or detached.

1. A program sees a clean environment: no `PG*` variable of the caller leads it elsewhere, no secret
   of the caller lives on in the server, and its messages are in English, because some are read
   (`startup.py`).
2. Programs run with `/` as their working folder: the caller's may be unreadable for the account.
3. Nothing runs between fork and exec in the caller: `run_as.py` says why.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from flowsync.errors import EmbeddedPostgresError
from flowsync.runtime import run_as

# A launch takes 15 ms. It is not bound by the caller's deadline: the script, cut off midway, could
# not say what it started.
_LAUNCH_SECONDS = 30.0
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH")


class SystemUser(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs PostgreSQL. `identity` is the word for `run_as.py`; `owner` is the user and group to
    give new folders to, if not the caller's.

    `maker` makes the cluster in place of one that cannot.
    """

    identity: str = "self"
    owner: tuple[int, int] | None = None
    maker: "SystemUser | None" = None

    @property
    def uid(self) -> int:
        """The owner of the cluster's files, seen from the caller."""
        return self.owner[0] if self.owner else os.geteuid()

    @property
    def passes(self) -> bool:
        """Whether no folder is closed to it."""
        return self.identity.endswith("+pass")

    def give(self, path: Path) -> None:
        """Make the file or folder the account's own."""
        if self.owner:
            os.chown(path, *self.owner, follow_symlinks=False)

    def give_whole(self, folder: Path) -> None:
        """Make all that is in the folder the account's own. The folder goes last: whoever is killed
        before that finds it as it was.
        """
        owner = self.owner or (os.geteuid(), os.getegid())
        for place, _, names in os.walk(folder, topdown=False):
            for path in (*(Path(place, name) for name in names), Path(place)):
                os.chown(path, *owner, follow_symlinks=False)

    def run(self, doing: str, command: Sequence[str | Path], deadline: float) -> None:
        """Run a program to its end. Raises `EmbeddedPostgresError` when it fails or is still
        running at the deadline (monotonic seconds).
        """
        self._execute(doing, "", command, max(deadline - time.monotonic(), 0.0))

    def launch(self, doing: str, command: Sequence[str | Path], log: Path) -> int:
        """Start a program detached, with its output appended to the log, and return its
        process id.
        """
        return int(self._execute(doing, str(log), command, _LAUNCH_SECONDS))

    def _execute(self, doing: str, log: str, command: Sequence[str | Path], seconds: float) -> str:
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        try:
            answer = subprocess.run(
                [sys.executable, "-I", "-S", run_as.__file__, self.identity, log, *command],
                cwd=os.sep,
                env=kept | {"LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise EmbeddedPostgresError(doing, f"not done after {error.timeout:.1f} s") from error
        except OSError as error:
            raise EmbeddedPostgresError(doing, str(error)) from error
        if answer.returncode:
            said = (answer.stderr or answer.stdout).decode(errors="replace").strip()
            found = f"{said[-1500:]} (exit status {answer.returncode})"
            raise EmbeddedPostgresError(doing, found)
        return answer.stdout.decode(errors="replace")
