"""Claims of what is fetched."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowsync.serve.missing.missing import claimed


class Cancelling(ThreadPoolExecutor):
    """Cancels the first task that has something done in a thread, as the thread begins."""

    cancelled = False

    def submit(self, job, /, *arguments, **options):
        if not self.cancelled:
            self.cancelled = True
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        return super().submit(job, *arguments, **options)


async def test_who_is_cancelled_while_claiming_leaves_the_claim_to_the_next(tmp_path: Path) -> None:
    async def hold() -> None:
        async with claimed(str(tmp_path), "blob"):
            pass

    asyncio.get_running_loop().set_default_executor(Cancelling())
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(hold())

    async with asyncio.timeout(5):
        await hold()

    assert list(tmp_path.iterdir()) == []
