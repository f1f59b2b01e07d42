"""The frame of download stages: concurrency, overtaking, failure, cancellation.

Virtual time: the work of an item is to wait for an event that the test sets, so nothing here
depends on a clock.
"""

import asyncio
from typing import Any

import pytest

from flowsync import EndStage, GenericDownloader, Stage, create_pipeline
from flowsync.pipeline.stage import Meter, Progress


class Source(Stage):
    def __init__(self, items: list[Any], *, endless: bool = False) -> None:
        self.given = items
        self.endless = endless

    async def run(self) -> None:
        for item in self.given:
            await self.put(item)
        if self.endless:
            await asyncio.Event().wait()


class Work:
    """An item whose handling takes as long as the test wants."""

    def __init__(self, name: str, *, needed: bool = True) -> None:
        self.name = name
        self.needed = needed
        self.started = asyncio.Event()
        self.may_end = asyncio.Event()
        self.cancelled = False
        self.error: Exception | None = None


class Downloader(GenericDownloader):
    def __init__(self, max_concurrent_content: int = 3) -> None:
        super().__init__(max_concurrent_content)
        self.running = 0
        self.peak = 0
        self.took_last = asyncio.Event()

    def has_work(self, item: Any) -> bool:
        return bool(item.needed)

    def last_taken(self) -> None:
        self.took_last.set()

    async def handle_content(self, item: Any, meter: Meter) -> None:
        self.running += 1
        self.peak = max(self.peak, self.running)
        item.started.set()
        try:
            await item.may_end.wait()
        except asyncio.CancelledError:
            item.cancelled = True
            raise
        finally:
            self.running -= 1
        if item.error is not None:
            raise item.error
        meter.advance()


class Collect(Stage):
    """Keeps what comes out, and tells when a number of items has come."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.changed = asyncio.Condition()

    async def run(self) -> None:
        async for item in self.items():
            async with self.changed:
                self.names.append(item.name)
                self.changed.notify_all()

    async def until(self, count: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.names) >= count)


def start(
    items: list[Work], downloader: Downloader, *, endless: bool = False
) -> tuple[asyncio.Task[None], Collect, Progress]:
    collect, progress = Collect(), Progress()
    stages = [Source(items, endless=endless), downloader, collect]
    task = asyncio.create_task(create_pipeline(stages, 1, progress=progress))
    return task, collect, progress


async def test_as_many_run_as_allowed_and_items_without_work_overtake() -> None:
    """Every third of 28 needs a download; exactly three run in parallel; ten are
    counted.
    """
    items = [Work(str(number), needed=number % 3 == 0) for number in range(28)]
    downloader = Downloader(3)
    task, collect, progress = start(items, downloader)

    await items[6].started.wait()
    await collect.until(4)
    overtaken = list(collect.names)
    for item in items:
        item.may_end.set()
    await task

    assert overtaken == ["1", "2", "4", "5"]
    assert downloader.peak == 3
    assert sorted(collect.names, key=int) == [str(number) for number in range(28)]
    (reading,) = progress.read()
    assert (reading.done, reading.state) == (10, "completed")


async def test_it_tells_when_the_last_item_is_taken_while_work_goes_on() -> None:
    items = [Work(str(number)) for number in range(4)]
    downloader = Downloader(3)
    task, collect, _ = start(items, downloader)

    await items[2].started.wait()
    with_one_more = downloader.took_last.is_set()
    items[0].may_end.set()
    await items[3].started.wait()
    items[1].may_end.set()
    await downloader.took_last.wait()
    running = downloader.running
    for item in items:
        item.may_end.set()
    await task

    assert (with_one_more, running) == (False, 2)
    assert len(collect.names) == 4


async def test_one_slow_download_does_not_hold_up_the_others() -> None:
    """Of 100 only the first is slow; the other 99, and the next 100, pass."""
    slow, *others = [Work(str(number), needed=number == 0) for number in range(200)]
    task, collect, _ = start([slow, *others], Downloader(3))

    await collect.until(199)
    assert not task.done()
    slow.may_end.set()
    await task

    assert collect.names[-1] == "0"


async def test_a_new_item_is_taken_only_when_a_slot_is_free() -> None:
    """The fourth waits in the channel until one of three ends."""
    items = [Work(str(number)) for number in range(4)]
    task, collect, _ = start(items, Downloader(3))
    for item in items[:3]:
        await item.started.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not items[3].started.is_set()

    items[0].may_end.set()
    await items[3].started.wait()
    for item in items:
        item.may_end.set()
    await task

    assert collect.names[0] == "0"


async def test_cancelling_cancels_every_download() -> None:
    items = [Work(str(number)) for number in range(3)]
    task, _, progress = start(items, Downloader(3))
    for item in items:
        await item.started.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [item.cancelled for item in items] == [True] * 3
    assert progress.read()[0].state == "canceled"


@pytest.mark.parametrize("waiting", [0, 1])
@pytest.mark.parametrize("endless", [True, False])
async def test_a_failing_download_ends_the_stage_with_its_error_and_the_others(
    waiting: int, endless: bool
) -> None:
    """With an empty input, with the end already there, with all slots taken and
    one more waiting.
    """
    items = [Work(str(number)) for number in range(3 + waiting)]
    items[1].error = OSError("no route")
    task, _, progress = start(items, Downloader(3), endless=endless)
    for item in items[:3]:
        await item.started.wait()

    items[1].may_end.set()
    with pytest.raises(OSError, match="no route"):
        await task

    assert items[0].cancelled
    assert items[2].cancelled
    assert progress.read()[0].state == "failed"


async def test_a_full_output_keeps_the_slot() -> None:
    """The handler itself puts the item on, so a blocked output is back-pressure."""
    items = [Work(str(number)) for number in range(10)]
    for item in items:
        item.may_end.set()

    class Stuck(Stage):
        def __init__(self) -> None:
            self.go = asyncio.Event()

        async def run(self) -> None:
            await self.go.wait()
            async for _ in self.items():
                pass

    stuck = Stuck()
    task = asyncio.create_task(
        create_pipeline([Source(items), Downloader(3), stuck, EndStage()], 1)
    )
    await items[3].started.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    started = sum(item.started.is_set() for item in items)
    stuck.go.set()
    await task

    assert started == 4, "three slots and the one item that the channel holds"


def test_less_than_one_at_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        GenericDownloader(0)
