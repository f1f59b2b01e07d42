"""Runs one command and measures it together with every process it leaves behind: wall, CPU and
memory.

The measuring process makes itself the one that inherits orphans (`prctl(PR_SET_CHILD_SUBREAPER)`,
Linux), so that a database server which detaches itself is waited for and counted too. It is a
process of its own, because it waits for whatever child there is.
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

_SET_CHILD_SUBREAPER: Final = 36
REPOSITORY: Final = Path(__file__).parents[2]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One run: seconds from start to end of the command, CPU seconds of all its processes, peak
    memory (MiB) of the largest process among the command and those it waited for.
    """

    status: int
    seconds: float
    cpu: float
    peak: float
    out: str
    err: str


def measure(command: Sequence[str], folder: Path) -> Measured:
    """Run the command in `folder` and return what it took. Raise `RuntimeError` with its last words
    when it fails.
    """
    measuring = [sys.executable, "-m", "bench.syncs.measured", str(folder), *command]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(measuring, capture_output=True, check=True, env=environment)
    measured = msgspec.json.decode(run.stdout, type=Measured)
    if measured.status:
        raise RuntimeError(
            f"{' '.join(command)[:200]}: status {measured.status}\n{measured.err[-2000:]}"
        )
    return measured


def _main(folder: str, command: Sequence[str]) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    out, err = Path(folder, "command.out"), Path(folder, "command.err")
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, stdout=stdout, stderr=stderr)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    _wait_for_orphans()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        json.dumps(
            {
                "status": process.returncode,
                "seconds": seconds,
                "cpu": spent.ru_utime + spent.ru_stime,
                "peak": used.ru_maxrss / 1024,
                "out": out.read_text(errors="replace"),
                "err": err.read_text(errors="replace")[-4000:],
            }
        )
    )


def _wait_for_orphans() -> None:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
