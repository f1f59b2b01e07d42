"""What every executor does, as tests.

The test file of an adapter subclasses `ExecutorContract` and gives the fixture `executor`, which
has two workers that can import `flowsync.testing.executor_work`; `MortalContract` besides where
workers can be killed. It needs pytest, and pytest-asyncio in the mode "auto".

    class TestLocalProcesses(ExecutorContract, MortalContract):
        @pytest.fixture
        async def executor(self):
            async with LocalProcesses(2, warm_up) as executor:
                yield executor
"""

import asyncio
import os
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

from flowsync.errors import WorkerError, WorkersLostError
from flowsync.runtime.executor import Executor, ask
from flowsync.testing.executor_work import (
    OddError,
    be_shy,
    begin_and_wait,
    break_executor,
    complain,
    echo,
    swell,
)


async def appear(folder: Path, pattern: str, count: int = 1) -> None:
    """Wait for files of another process."""
    while len(list(folder.glob(pattern))) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


class ExecutorContract:
    """Tests of one adapter."""

    @pytest.fixture
    async def executor(self) -> Executor:
        raise NotImplementedError

    async def test_says_what_it_is(self, executor: Executor) -> None:
        assert executor.workers == 2
        assert executor.shares_files in {True, False}
        executor.start_soon()
        executor.start_soon()

    @pytest.mark.parametrize("size", [0, 1, 4096, 16 * 1024, 16 * 1024 + 1, 3_000_000])
    async def test_requests_of_all_sizes_come_back_as_replies(
        self, executor: Executor, size: int
    ) -> None:
        request = os.urandom(size)

        reply = await executor.submit(echo, request)

        assert reply == request
        assert type(reply) is bytes

    async def test_each_request_has_its_own_reply(self, executor: Executor) -> None:
        sizes = [(size * 7919) % 50_000 for size in range(60)]

        replies = [executor.submit(swell, str(size).encode()) for size in sizes]

        assert [len(reply) for reply in await asyncio.gather(*replies)] == sizes

    async def test_as_many_requests_as_workers_are_worked_on_at_once(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        replies = [executor.submit(begin_and_wait, os.fsencode(tmp_path)) for _ in range(4)]
        await appear(tmp_path, "begun-*", 2)

        assert not any(reply.done() for reply in replies)
        (tmp_path / "go").touch()
        assert await asyncio.gather(*replies) == [b"done"] * 4

    @pytest.mark.parametrize("size", [10, 100_000])
    async def test_error_of_the_work_comes_back_as_itself(
        self, executor: Executor, size: int
    ) -> None:
        with pytest.raises(OddError) as caught:
            await executor.submit(complain, str(size).encode())

        assert caught.value.size == size
        assert caught.value.__notes__[0].startswith("in worker process ")
        assert await executor.submit(echo, b"goes on") == b"goes on"

    async def test_error_that_cannot_be_pickled_comes_back_as_text(
        self, executor: Executor
    ) -> None:
        with pytest.raises(WorkerError, match="ShyError: stays at home"):
            await executor.submit(be_shy, b"")

    async def test_request_that_is_taken_back_before_it_began_never_begins(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        going = [executor.submit(begin_and_wait, os.fsencode(tmp_path)) for _ in range(2)]
        await appear(tmp_path, "begun-*", 2)
        unwanted = tmp_path / "unwanted"
        unwanted.mkdir()
        waiting = [executor.submit(begin_and_wait, os.fsencode(unwanted)) for _ in range(8)]

        # What an executor keeps at hand for its workers may be beyond recall.
        for reply in reversed(waiting[4:]):
            await executor.cancel(reply)
        for folder in (tmp_path, unwanted):
            (folder / "go").touch()
        await asyncio.gather(*going, *waiting[:4])

        assert all(reply.cancelled() for reply in waiting[4:])
        assert len(list(unwanted.glob("begun-*"))) == 4

    async def test_request_that_is_taken_back_does_nothing_here_any_more(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        reply = executor.submit(begin_and_wait, os.fsencode(tmp_path))
        await appear(tmp_path, "begun-*")
        asyncio.get_running_loop().call_later(0.05, (tmp_path / "go").touch)

        await executor.cancel(reply)

        assert not executor.shares_files or (tmp_path / "ended-1").exists()
        (tmp_path / "go").touch()
        assert await executor.submit(echo, b"goes on") == b"goes on"

    async def test_who_is_cancelled_takes_the_request_back(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        asking = asyncio.create_task(ask(executor, begin_and_wait, os.fsencode(tmp_path)))
        await appear(tmp_path, "begun-*")
        asyncio.get_running_loop().call_later(0.05, (tmp_path / "go").touch)

        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        assert not executor.shares_files or (tmp_path / "ended-1").exists()
        (tmp_path / "go").touch()

    async def test_reply_that_was_had_can_be_cancelled_in_vain(self, executor: Executor) -> None:
        reply = executor.submit(echo, b"had")
        assert await reply == b"had"

        await executor.cancel(reply)

        assert reply.result() == b"had"

    async def test_closing_ends_what_waits_and_refuses_what_comes(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        replies = [executor.submit(begin_and_wait, os.fsencode(tmp_path)) for _ in range(6)]
        await appear(tmp_path, "begun-*", 2)
        asyncio.get_running_loop().call_later(0.05, (tmp_path / "go").touch)

        await executor.close()
        await executor.close()
        (tmp_path / "go").touch()

        assert all(reply.done() for reply in replies)
        with pytest.raises(WorkersLostError):
            await ask(executor, echo, b"too late")


class MortalContract:
    """Tests of an adapter whose workers are processes that die of what they do."""

    async def test_request_that_kills_workers_is_given_up(self, executor: Executor) -> None:
        with pytest.raises(BrokenExecutor):
            await executor.submit(break_executor, b"")

    async def test_who_asks_is_told_that_workers_are_lost(self, executor: Executor) -> None:
        with pytest.raises(WorkersLostError, match="work for other processes was given up: "):
            await ask(executor, break_executor, b"")

    async def test_nobody_waits_for_workers_that_are_lost(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        replies = [
            executor.submit(break_executor, b""),
            *(executor.submit(swell, b"1000") for _ in range(5)),
        ]

        done, pending = await asyncio.wait(replies, timeout=60)

        assert not pending
        for reply in done:
            assert isinstance(reply.exception(), BrokenExecutor) or len(reply.result()) == 1000
