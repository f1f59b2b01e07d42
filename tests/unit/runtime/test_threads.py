import asyncio
import threading

import pytest

from flowsync.runtime.tasks import in_thread, opened_in_thread


async def test_the_result_and_the_error_of_the_job_come_back():
    assert await in_thread(max, 1, 2) == 2
    with pytest.raises(ValueError, match="invalid literal"):
        await in_thread(int, "x")


async def test_the_job_runs_in_another_thread():
    assert await in_thread(threading.get_ident) != threading.get_ident()


async def test_cancelling_waits_until_the_job_has_ended():
    started, finish, done = threading.Event(), threading.Event(), threading.Event()

    def job() -> None:
        started.set()
        finish.wait()
        done.set()

    task = asyncio.create_task(in_thread(job))
    await asyncio.to_thread(started.wait)
    task.cancel()
    await asyncio.to_thread(lambda: None)
    was_done = task.done()
    finish.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not was_done
    assert done.is_set()


async def test_the_error_of_a_job_whose_waiter_was_cancelled_disturbs_nobody():
    started, finish = threading.Event(), threading.Event()

    def job() -> None:
        started.set()
        finish.wait()
        raise ValueError

    task = asyncio.create_task(in_thread(job))
    await asyncio.to_thread(started.wait)
    task.cancel()
    finish.set()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_a_job_opened_whose_waiter_was_cancelled_is_closed():
    started, finish = threading.Event(), threading.Event()
    closed: list[str] = []

    def opening(name: str) -> str:
        started.set()
        finish.wait()
        return name

    task = asyncio.create_task(opened_in_thread(opening, "file", close=closed.append))
    await asyncio.to_thread(started.wait)
    task.cancel()
    finish.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert closed == ["file"]


async def test_what_a_job_opened_is_its_waiters():
    closed: list[int] = []

    assert await opened_in_thread(max, 1, 2, close=closed.append) == 2

    assert closed == []
