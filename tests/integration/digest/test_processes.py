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
        size, _ = await hasher.digest(sys.argv[1], frozenset())
        print(size)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        size, _ = await hasher.digest(sys.argv[1], frozenset())
        print(size)

asyncio.run(main())
"""

# Becomes a user who may have so few processes and threads that not all workers start, perhaps none:
# that user need not reach this Python.
SHORT_OF_PROCESSES = """
import asyncio, os, resource, sys
from flowsync.digest.pool import Hasher

async def digest_twice(workers):
    async with Hasher(workers) as hasher:
        for _ in range(2):
            size, _ = await hasher.digest("/dev/null", frozenset())
            print(size)

asyncio.run(digest_twice(1))
resource.setrlimit(resource.RLIMIT_NPROC, (20, 20))
os.setgroups([])
os.setgid(60_123)
os.setuid(60_123)
asyncio.run(digest_twice(30))
"""

SHORT_OF_THREADS = """
import os, resource
from flowsync.runtime.spawning import settle_in

resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
os.setgroups([])
os.setgid(60_124)
os.setuid(60_124)
settle_in()
print("went on")
"""

IN_THREADS = "hash workers cannot be had, hashing goes on in threads, which takes longer: "


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

        assert len(watched) == 2
        for process in watched:
            ended, _, _ = select.select([process], [], [], 20)
            assert ended == [process]
            os.close(process)
        if writing is not None:
            os.close(writing)


@pytest.mark.parametrize("free", [1, 3, 5, 8])
def test_hashing_goes_on_in_threads_where_workers_find_no_descriptors(
    free: int, abc: Path, tmp_path: Path
) -> None:
    """The more descriptors are free, the farther the start gets: to the sockets, to the process."""
    with program(SHORT_OF_DESCRIPTORS, tmp_path, abc, free) as running:
        output, errors = running.communicate()

    assert errors == IN_THREADS + "[Errno 24] Too many open files\n"
    assert output.splitlines() == ["3", "3"]


def test_hashing_goes_on_in_threads_where_no_process_can_be_had(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become a user without processes, whose number is limited")
    with program(SHORT_OF_PROCESSES, tmp_path) as running:
        output, errors = running.communicate()

    assert errors.startswith(IN_THREADS)
    assert errors.count("\n") == 1
    assert output.splitlines() == ["0", "0", "0", "0"]


def test_a_worker_without_a_thread_to_be_had_ends_without_a_word(tmp_path: Path) -> None:
    """A line of a traceback stood before what the parent says of it."""
    if os.geteuid() != 0:
        pytest.skip("only root can become a user without processes, whose number is limited")
    with program(SHORT_OF_THREADS, tmp_path) as running:
        told = running.communicate()

    assert (running.returncode, told) == (1, ("", ""))


def test_workers_need_no_shared_memory_of_the_system(abc: Path, tmp_path: Path) -> None:
    """Where /dev/shm cannot be written there are no named semaphores."""
    (tmp_path / "script.py").write_text(UNGUARDED)
    mounting = 'mount -t tmpfs -o ro none /dev/shm && exec "$@"'
    run = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounting, "sh", sys.executable, tmp_path / "script.py", abc],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    if "unshare:" in run.stderr or "mount:" in run.stderr:
        pytest.skip(f"no file system can be mounted here: {run.stderr.strip()}")

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.endswith("f20015ad\n")
