"""Processes of this machine as an executor: what they do beyond its contract, whoever is killed."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from flowsync.errors import SettingsError, WorkersLostError
from flowsync.runtime.executor import Wanted, ask
from flowsync.runtime.garbage import NEW_OBJECTS
from flowsync.runtime.local_processes import LocalProcesses
from flowsync.testing.executor_contract import ExecutorContract, MortalContract, appear
from flowsync.testing.executor_work import (
    LONG,
    begin_and_wait,
    block,
    break_executor,
    die_once,
    echo,
    swell,
    warm_up,
)

ROOT = Path(__file__).parents[3]

ASKING = """
import asyncio, sys
from flowsync.runtime.executor import ask
from flowsync.runtime.local_processes import LocalProcesses
from flowsync.testing.executor_work import warm_up
from tests.integration.runtime.test_local_processes import reply_at_length

async def main(folder):
    async with LocalProcesses(2, warm_up) as executor:
        print(len(await ask(executor, reply_at_length, folder.encode())), "bytes")

asyncio.run(main(sys.argv[1]))
"""


class TestLocalProcesses(ExecutorContract, MortalContract):
    @pytest.fixture
    async def executor(self) -> AsyncIterator[LocalProcesses]:
        async with LocalProcesses(2, warm_up) as executor:
            yield executor


@pytest.fixture
async def executor() -> AsyncIterator[LocalProcesses]:
    async with LocalProcesses(2, warm_up) as executor:
        yield executor


def reply_at_length(request: bytes, _: Wanted) -> bytes:
    """Return more than a socket takes. The first time, write in the folder that is the request who
    does, and wait for a sign there.
    """
    folder = Path(os.fsdecode(request))
    if not (folder / "ready").exists():
        (folder / "ready").write_text(str(os.getpid()))
        while not (folder / "go").exists():
            time.sleep(0.001)
    return bytes(LONG)


def garbage_threshold(_: bytes, __: Wanted) -> bytes:
    """Return after how many new objects this process looks for garbage."""
    return str(gc.get_threshold()[0]).encode()


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


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def descriptors() -> dict[str, str]:
    """Return what this process has open."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


async def test_workers_look_for_garbage_rarely_and_the_callers_process_as_before(
    executor: LocalProcesses,
) -> None:
    before = (gc.get_threshold(), gc.get_freeze_count())

    workers = await executor.submit(garbage_threshold, b"")

    assert int(workers) == NEW_OBJECTS > before[0][0]
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_worker_killed_in_the_middle_of_its_reply_hangs_nobody(tmp_path: Path) -> None:
    """While the parent is stopped, the socket fills up: half a reply came when the worker dies."""
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


async def test_workers_must_be_at_least_one() -> None:
    with pytest.raises(SettingsError, match="at least 1 worker process is needed, found 0"):
        LocalProcesses(0, warm_up)


async def test_worker_that_dies_costs_no_request(executor: LocalProcesses, tmp_path: Path) -> None:
    pids = await _started(executor)
    request = os.fsencode(tmp_path)

    replies = [executor.submit(die_once, request), *(executor.submit(swell, b"9") for _ in "1234")]

    pid, *others = await asyncio.gather(*replies)
    assert int(pid) not in pids
    assert others == [bytes(9)] * 4


async def test_request_that_kills_workers_harms_no_other(executor: LocalProcesses) -> None:
    lethal = asyncio.create_task(ask(executor, break_executor, b""))
    others = [executor.submit(swell, b"9") for _ in range(40)]

    assert await asyncio.gather(*others) == [bytes(9)] * 40
    with pytest.raises(WorkersLostError, match="the worker processes were lost 3 times over it"):
        await lethal


async def test_request_that_waits_outlives_the_workers(
    executor: LocalProcesses, tmp_path: Path
) -> None:
    """Those that were not on their way may be tried once, and are not lost."""
    going = [executor.submit(begin_and_wait, os.fsencode(tmp_path), tries=1) for _ in range(2)]
    waiting = [executor.submit(echo, b"here", tries=1) for _ in range(3)]
    await appear(tmp_path, "begun-*", 2)

    os.kill(executor.pids[0], signal.SIGKILL)

    assert await asyncio.gather(*waiting) == [b"here"] * 3
    assert all(reply.exception() is not None for reply in going)


async def test_death_of_an_idle_worker_is_known_at_once(executor: LocalProcesses) -> None:
    pids = await _started(executor)

    os.kill(pids[0], signal.SIGKILL)
    async with asyncio.timeout(20):
        while executor.pids:  # noqa: ASYNC110 - another process's event
            await asyncio.sleep(0)

    assert await executor.submit(echo, b"next") == b"next"
    assert not set(executor.pids) & set(pids)


async def test_unwanted_request_is_told_to_its_worker_which_lives_on(
    executor: LocalProcesses, tmp_path: Path
) -> None:
    pids = await _started(executor)
    for number in range(1, 4):
        reply = executor.submit(begin_and_wait, os.fsencode(tmp_path))
        await appear(tmp_path, f"begun-{number}")

        await executor.cancel(reply)

        assert (tmp_path / f"ended-{number}").exists()
    assert executor.pids == pids


async def test_only_what_is_not_wanted_is_told_so(tmp_path: Path) -> None:
    """The line of a single worker has two requests; the second one is taken back first."""
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
    async with LocalProcesses(1, warm_up) as executor:
        await _started(executor)
        first, second, third = (
            executor.submit(begin_and_wait, os.fsencode(folder)) for folder in folders
        )
        await appear(folders[0], "begun-1")

        taking_back = asyncio.create_task(executor.cancel(second))
        await asyncio.sleep(0)
        assert not first.done()
        (folders[0] / "go").touch()
        await taking_back
        await appear(folders[2], "begun-1")
        assert not third.done()
        (folders[2] / "go").touch()

        assert [await reply for reply in (first, second, third)] == [b"done"] * 3


async def test_worker_that_does_not_listen_is_killed_and_costs_no_other(tmp_path: Path) -> None:
    async with LocalProcesses(2, warm_up, patience=0.2) as executor:
        pids = await _started(executor)
        reply = executor.submit(block, os.fsencode(tmp_path))
        await appear(tmp_path, "begun-1")
        other = tmp_path / "other"
        other.mkdir()
        (other / "go").touch()
        kept = [executor.submit(begin_and_wait, os.fsencode(other)) for _ in range(5)]

        await executor.cancel(reply)

        assert reply.cancelled()
        assert not any(is_alive(pid) for pid in pids)
        assert await asyncio.gather(*kept) == [b"done"] * 5


async def test_closing_leaves_no_process_no_task_and_no_descriptor(tmp_path: Path) -> None:
    async with LocalProcesses(1, warm_up) as executor:  # the loop opens some things once
        await _started(executor)
    before, tasks = descriptors(), asyncio.all_tasks()
    async with LocalProcesses(2, warm_up) as executor:
        pids = await _started(executor)
        os.kill(pids[1], signal.SIGKILL)
        replies = [executor.submit(begin_and_wait, os.fsencode(tmp_path)) for _ in range(3)]
        while executor.pids in {(), pids}:  # noqa: ASYNC110 - another process's event
            await asyncio.sleep(0)
        pids += executor.pids

    assert all(reply.done() for reply in replies)
    assert len(pids) == 4
    assert not any(is_alive(pid) for pid in pids)
    await asyncio.sleep(0)
    assert descriptors() == before
    assert asyncio.all_tasks() == tasks
    for reply in replies:
        reply.exception()


async def test_closing_while_workers_start_leaves_no_process() -> None:
    await asyncio.to_thread(os.getpid)
    before = descriptors()
    executor = LocalProcesses(2, warm_up)
    reply = executor.submit(echo, b"never")
    await asyncio.sleep(0)

    await executor.close()

    with pytest.raises(WorkersLostError):
        await ask(executor, echo, b"")
    assert reply.exception() is not None
    await asyncio.sleep(0)
    assert descriptors() == before


async def _started(executor: LocalProcesses) -> tuple[int, ...]:
    await executor.submit(echo, b"start")
    return executor.pids
