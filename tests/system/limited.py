"""A program with a limit on its data, run as `python limited.py BYTES REPORT PROGRAM …`.

`RLIMIT_DATA` covers what a process allocates, not what it maps from files, and holds for each
process below. When the program has ended, REPORT has the largest peak of resident memory of a
process, in bytes. The status is that of the program: this process only waits.
"""

import resource
import signal
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run the program."""
    limit, report, *command = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit), int(limit)))
    with subprocess.Popen(command) as program:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = program.wait()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    Path(report).write_text(str(peak))
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
