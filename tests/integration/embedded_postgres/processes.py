"""What the tests of the embedded server know of processes: holders of a server, and the servers of
a folder.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[3]
HOLDER = Path(__file__).with_name("holder.py")


class Holder:
    """A `holder.py` in a process of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        python: Sequence[str | Path] = (sys.executable,),
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
    ) -> None:
        identity: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
        self.process = subprocess.Popen(
            [*python, HOLDER, folder],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **identity,
        )

    def wait_ready(self) -> dict[str, str]:
        """Return what the holder tells of the server once it is ready."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"holder ended: {self.process.communicate()[1]}")
        told: dict[str, str] = json.loads(line)
        return told

    def let_go(self) -> bool:
        """Make it stop, and return whether it was the last."""
        out, err = self.process.communicate()
        assert self.process.returncode == 0, err
        return json.loads(out)["stopped"] is True

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def servers_of(folder: Path) -> list[int]:
    """Return the process ids of all postmasters that serve a cluster below the folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            arguments = _command_line(entry)
            below = any(part.startswith(f"{folder}/") for part in arguments[1:])
            if arguments[0].endswith("/postgres") and below:
                found[int(entry.name)] = _parent(entry)
    # A child of the server has its parent's command line until it takes a title of its own, or has
    # ended already.
    return [pid for pid, parent in found.items() if parent is not None and parent not in found]


def user_of(pid: int) -> int:
    """Return the user that a process runs as, seen from outside of its namespace."""
    return (Path("/proc") / str(pid)).stat().st_uid


def _parent(entry: Path) -> int | None:
    """Return the parent of a process, or nothing when it has ended."""
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _command_line(entry: Path) -> list[str]:
    try:
        return os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
    except OSError:
        return [""]
