"""Hash workers in the life of a whole program: its script, its Ctrl-C, its violent death."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# As a newcomer writes it: no guard, all at the top of the file.
UNGUARDED = """
import sys
import uvloop
from flowsync.digest.pool import Hasher

print("the script runs")

async def main():
    async with Hasher(2) as hasher:
        size, digests = await hasher.digest(sys.argv[1], frozenset())
        print(size, digests["sha256"])

uvloop.run(main())
"""

# Prints the workers' ids, then digests the file once for each line it reads.
LISTENING = """
import asyncio, signal, sys
from flowsync.digest.pool import Hasher

async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: print("interrupted", flush=True))
    async with Hasher(2) as hasher:
        await hasher.digest("/dev/null", frozenset())
        print(*hasher.worker_pids, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            size, _ = await hasher.digest(sys.argv[1], frozenset(), size=0)
            print(size, *hasher.worker_pids, flush=True)

asyncio.run(main())
"""

# Leaves so many descriptors free, digests the file, and digests it again with enough of them.
SHORT_OF_DESCRIPTORS = """
import asyncio, os, resource, sys
from flowsync.digest.pool import Hasher

async def main():
    before = await asyncio.to_thread(os.listdir, "/dev/fd")
    async with Hasher(1) as hasher:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, before)) + free, limits[1]))
        try:
            await hasher.digest(sys.argv[1], frozenset())
        except Exception as error:
            print(type(error).__name__, error)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        size, _ = await hasher.digest(sys.argv[1], frozenset())
        print(size)

asyncio.run(main())
"""


@contextmanager
def program(script: str, folder: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a script in a session of its own; end it when the test has failed."""
    path = folder / "script.py"
    path.write_text(script)
    with subprocess.Popen(
        [sys.executable, str(path), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture
def abc(tmp_path: Path) -> Path:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    return path


def line(running: subprocess.Popen[str]) -> list[str]:
    assert running.stdout is not None
    return running.stdout.readline().split()


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def say(running: subprocess.Popen[str], text: str) -> None:
    assert running.stdin is not None
    running.stdin.write(text)
    running.stdin.flush()


def test_script_needs_no_guard_and_runs_once(abc: Path, tmp_path: Path) -> None:
    with program(UNGUARDED, tmp_path, abc) as running:
        output, errors = running.communicate()

    assert errors == ""
    assert output.splitlines() == [
        "the script runs",
        "3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ]
    assert running.returncode == 0


def test_interrupt_of_the_process_group_is_the_parents_alone(abc: Path, tmp_path: Path) -> None:
    with program(LISTENING, tmp_path, abc) as running:
        workers = line(running)

        os.killpg(running.pid, signal.SIGINT)
        assert line(running) == ["interrupted"]
        say(running, "again\n")

        assert line(running) == ["3", *workers]
        output, errors = running.communicate()
        assert (output, errors, running.returncode) == ("", "", 0)


@pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="waits for processes that are no children"
)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_nothing_outlives_a_parent_that_is_killed(busy: bool, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    os.mkfifo(slow)
    with program(LISTENING, tmp_path, slow) as running:
        line(running)
        watched = [os.pidfd_open(pid) for pid in children(running.pid)]
        writing = None
        if busy:
            say(running, "go\n")
            writing = os.open(slow, os.O_WRONLY)

        running.kill()

        assert len(watched) == 3, "two workers, and the tracker of their semaphores"
        for process in watched:
            ended, _, _ = select.select([process], [], [], 20)
            assert ended == [process]
            os.close(process)
        if writing is not None:
            os.close(writing)


@pytest.mark.parametrize("free", [1, 5, 8, 11])
def test_failing_to_start_workers_is_an_error_and_not_the_end(
    free: int, abc: Path, tmp_path: Path
) -> None:
    """The more descriptors are free, the farther the start gets: to the queues, to the first process."""
    with program(SHORT_OF_DESCRIPTORS, tmp_path, abc, free) as running:
        output, errors = running.communicate()

    assert errors == ""
    assert output.splitlines() == [
        f"HashingError hashing {abc}: the hash workers failed 3 times, at last with OSError(24, 'Too many open files')",
        "3",
    ]
