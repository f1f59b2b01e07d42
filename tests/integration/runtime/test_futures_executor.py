"""Executors of the standard library, as a cluster's client looks to flowsync: futures, none of
which can be told anything.
"""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)

import pytest

from flowsync.errors import WorkersLostError
from flowsync.runtime.executor import ask
from flowsync.runtime.futures_executor import FuturesExecutor
from flowsync.testing.executor_contract import ExecutorContract, MortalContract
from flowsync.testing.executor_work import echo


class TestThreads(ExecutorContract):
    @pytest.fixture
    async def executor(self) -> AsyncIterator[FuturesExecutor]:
        with ThreadPoolExecutor(2) as threads:
            executor = FuturesExecutor(threads, 2, shares_files=True)
            yield executor
            await executor.close()


class TestOtherProcesses(ExecutorContract, MortalContract):
    @pytest.fixture
    async def executor(self) -> AsyncIterator[FuturesExecutor]:
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
            executor = FuturesExecutor(processes, 2, shares_files=False)
            yield executor
            await executor.close()


class Cluster(Executor):
    """The client of a cluster whose scheduler dies: it cancels what was sent."""

    def __init__(self) -> None:
        self.sent: list[Future[bytes]] = []

    def submit(self, *_: object, **__: object) -> "Future[bytes]":  # type: ignore[override]
        self.sent.append(Future())
        return self.sent[-1]


async def test_request_that_a_cluster_cancels_unasked_is_lost_and_cancels_nobody() -> None:
    cluster = Cluster()
    executor = FuturesExecutor(cluster, 2, shares_files=False)
    asking = asyncio.create_task(ask(executor, echo, b"lost"))
    await asyncio.sleep(0)

    cluster.sent[0].cancel()
    cluster.sent[0].set_running_or_notify_cancel()

    with pytest.raises(WorkersLostError, match="CancelledError"):
        await asking


async def test_error_of_a_cluster_is_no_error_of_the_work() -> None:
    cluster = Cluster()
    executor = FuturesExecutor(cluster, 2, shares_files=False)
    reply = executor.submit(echo, b"lost")

    cluster.sent[0].set_exception(ValueError("too many workers died of it"))

    with pytest.raises(BrokenExecutor, match="too many workers died of it"):
        await reply


async def test_executor_that_was_shut_down_is_broken() -> None:
    threads = ThreadPoolExecutor(1)
    threads.shutdown()

    with pytest.raises(BrokenExecutor, match="cannot schedule new futures"):
        FuturesExecutor(threads, 1, shares_files=True).submit(echo, b"")
