"""The worker's side of a hosted segment: runs the stages on one batch and tells what became of it.

1. A batch is a whole pipeline of its own: its stages see its end, and an item that one of them
   drops is dropped.
2. A batch that is not wanted any more is cancelled like any pipeline; the reason is not asked for,
   so the answer says only that.
3. Every error of the stages is an answer.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from flowsync.errors import WorkerError
from flowsync.pipeline.pipeline import Pipeline
from flowsync.pipeline.remote.protocol import NEW, BatchReply, BatchRequest, WorkerCodec
from flowsync.pipeline.resolution import Resolvable
from flowsync.pipeline.stage import Progress, Stage
from flowsync.runtime.executor import Wanted
from flowsync.runtime.failures import pack_error
from flowsync.runtime.tasks import STOPS, task_group

T = TypeVar("T")

SECONDS_BETWEEN_LOOKS: Final = 0.1
"""How often a worker looks whether its batch is still wanted."""


class _UnwantedError(Exception):
    """Ends a batch that nothing waits for."""


class _Feed(Stage):
    hands_on = True

    def __init__(self, batch: Sequence[Any]) -> None:
        self._batch = batch

    async def run(self) -> None:
        await self.put_all(self._batch)


class _Collect(Stage):
    def __init__(self) -> None:
        self.found: list[Any] = []

    async def run(self) -> None:
        async for item in self.items():
            self.found.append(item)


async def answer(
    question: BatchRequest,
    is_wanted: Wanted,
    codec: WorkerCodec[T],
    stages: Sequence[Stage],
    context: Any = None,
) -> bytes:
    """Run the batch through the stages, as long as it is wanted, and return the encoded
    `BatchReply`.
    """
    try:
        if not is_wanted():
            return msgspec.msgpack.encode(BatchReply(stopped=True))
        found = await _run(question, is_wanted, codec, stages, context)
    except _UnwantedError:
        found = BatchReply(stopped=True)
    except Exception as error:  # noqa: BLE001 -- raised again by the pipeline that sent the batch
        found = BatchReply(failure=pack_error(error))
    except STOPS as stop:
        # What stops a process is meant for the worker at most; the sender of the batch gets an
        # error.
        found = BatchReply(failure=pack_error(WorkerError(f"a worker was stopped by {stop!r}")))
    return msgspec.msgpack.encode(found)


async def _run(
    question: BatchRequest,
    is_wanted: Wanted,
    codec: WorkerCodec[T],
    stages: Sequence[Stage],
    context: Any,
) -> BatchReply:
    batch = codec.decode(question.body)
    progress = Progress()
    collect = _Collect()
    pipeline = Pipeline(
        [_Feed(batch), *stages, collect], max(1, len(batch)), context=context, progress=progress
    )
    async with task_group() as group:
        watch = group.create_task(_watch(is_wanted))
        await pipeline.run()
        watch.cancel()
    positions = {id(item): position for position, item in enumerate(batch)}
    order = [positions.get(id(item), NEW) for item in collect.found]
    return BatchReply(
        order=order,
        resolved=[
            position
            for position, item in enumerate(batch)
            if isinstance(item, Resolvable) and item.resolved
        ],
        body=codec.encode(collect.found, order),
        readings=progress.read(),
        stages=tuple(pipeline.statistics()[1:-1]),
    )


async def _watch(is_wanted: Wanted) -> None:
    while is_wanted():  # noqa: ASYNC110 -- the one that may take the batch back is another process
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
    raise _UnwantedError
