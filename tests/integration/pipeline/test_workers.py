"""Questions and answers of any size reach the other process, whoever is killed on their way."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowsync.errors import StoreError, WorkerError
from flowsync.runtime.garbage import NEW_OBJECTS
from flowsync.runtime.worker_pool import WorkerPool
from tests.integration.pipeline.hosted import (
    LONG,
    complain,
    echo,
    garbage_threshold,
    swell,
    warm_up,
)

LARGE = 3_000_000


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    async with WorkerPool(2, warm_up) as pool:
        yield pool


ROOT = Path(__file__).parents[3]

ASKING = """
import asyncio, sys
from flowsync.runtime.worker_pool import WorkerPool
from tests.integration.pipeline.hosted import answer_at_length, warm_up

async def main(folder):
    async with WorkerPool(2, warm_up) as pool:
        print(len(await pool.ask(answer_at_length, folder.encode(), folder)), "bytes")

asyncio.run(main(sys.argv[1]))
"""


def appeared(path: Path) -> str:
    """Wait for a file, and return what it says."""
    while not (path.exists() and path.read_text()):
        time.sleep(0.001)
    return path.read_text()


def wait_until_idle(pid: int) -> None:
    """Wait until a process has slept without using the CPU for a while: it is blocked, or has
    nothing to do.
    """
    last, idle = "", 0
    while idle < 20:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used = " ".join(fields[11:13])
        idle = idle + 1 if fields[0] == "S" and used == last else 0
        last = used
        time.sleep(0.01)


async def test_questions_of_all_sizes_come_back_as_answers(
    pool: WorkerPool, tmp_path: Path
) -> None:
    for size in (0, 1, 2000, 3000, 4096, 16_384, 70_000, LARGE):
        question = os.urandom(size)

        assert await pool.ask(echo, question, str(tmp_path)) == question
        assert os.listdir(tmp_path) == []


async def test_workers_look_for_garbage_rarely_and_the_callers_process_as_before(
    tmp_path: Path,
) -> None:
    before = (gc.get_threshold(), gc.get_freeze_count())

    async with WorkerPool(2, warm_up) as pool:
        workers = await pool.ask(garbage_threshold, b"", str(tmp_path))

    assert int(workers) == NEW_OBJECTS > before[0][0]
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


async def test_error_of_the_work_comes_back_whatever_its_size(
    pool: WorkerPool, tmp_path: Path
) -> None:
    for size in (10, 100_000):
        with pytest.raises(ValueError, match="x") as caught:
            await pool.ask(complain, b"x" * size, str(tmp_path))

        assert len(str(caught.value)) == size
        assert caught.value.__notes__[0].startswith("in worker process ")
    assert os.listdir(tmp_path) == []


def test_worker_killed_in_the_middle_of_its_answer_hangs_nobody(tmp_path: Path) -> None:
    """While the parent is stopped, the pipe fills up. The other worker holds it open: who read half
    an answer would wait for the rest for ever.
    """
    command = [sys.executable, "-c", ASKING, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as parent:
        try:
            worker = int(appeared(tmp_path / "ready"))
            parent.send_signal(signal.SIGSTOP)
            (tmp_path / "go").touch()
            wait_until_idle(worker)
            os.kill(worker, signal.SIGKILL)
            parent.send_signal(signal.SIGCONT)

            output, _ = parent.communicate(timeout=20)
        finally:
            parent.kill()

    assert output == f"{LONG} bytes\n"
    assert list(tmp_path.glob("parcel-*")) == []


async def test_question_that_cannot_be_written_is_an_error_that_names_the_file(
    pool: WorkerPool, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*/gone/parcel-.*: No such file"):
        await pool.ask(echo, bytes(LARGE), str(tmp_path / "gone"))


async def test_answer_that_cannot_be_written_is_an_error(pool: WorkerPool, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="a worker cannot write its answer: No such file"):
        await pool.ask(swell, b"x", str(tmp_path / "gone"))
