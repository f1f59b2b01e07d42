"""The pipeline's side of a hosted segment: one stage that stands for several, whose work is done by
worker processes.

1. Items go over in batches and come back merged into the very objects that the pipeline holds, so
   a task that awaits one gets its outcome.
2. A batch is what can be had without waiting, shared out over the workers: an item that waits,
   awaited or not, never waits for others to come.
3. Batches are put on as they are answered. The next is taken only when there is a slot: with the
   channels before and behind full, nothing moves.
4. What the stages count in workers is added to the meters of the run, and to the statistics of the
   pipeline.
5. Errors, the end, and cancellation are those of a stage. Nothing that a worker does for the
   segment outlives it.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Final

import msgspec

from flowsync.errors import PipelineError
from flowsync.pipeline.remote.protocol import BatchReply, BatchRequest, Codec
from flowsync.pipeline.stage import Meter, Stage, StageStatistics, summed
from flowsync.runtime.executor import Executor, Work, ask
from flowsync.runtime.failures import unpack_error
from flowsync.runtime.tasks import task_group

LARGEST_BATCH: Final = 64
"""Items in a batch at most: many enough to share the cost of a question, few enough that answers
stay small and that a slow item holds up few others. Chosen by judgement; no bench varies it yet."""


class Hosting(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how a segment is hosted.

    `work` is the function that a worker calls with an encoded `BatchRequest`; it ends with
    `flowsync.pipeline.remote.segment_worker.answer`. `terms` go with every batch.
    """

    executor: Executor
    work: Work
    codec: Codec[Any]
    terms: bytes = b""
    largest_batch: int = LARGEST_BATCH

    @property
    def batches(self) -> int:
        """How many batches are on their way at most: one more than workers, so that each has its
        next one as soon as it has answered.
        """
        return self.executor.workers + 1


class HostedSegment(Stage):
    """A stage whose items are handled by stages in worker processes. Subclasses say in `hosting`
    where.

    Items that it does not want overtake the others. Order is not kept; inside a batch it is that of
    the hosted stages. Raises what the hosted stages raise, `CannotCrossError` for an item that has
    no form as bytes, and `WorkersLostError`.
    """

    _counted: "_Counted | None" = None

    def hosting(self) -> Hosting:
        """Return where the segment is hosted; asked once a run."""
        raise NotImplementedError(f"stage {self} does not implement hosting()")

    def wants(self, item: Any) -> bool:
        """Say whether an item goes to a worker; others are put on as they are."""
        return True

    async def admit(self, items: Sequence[Any]) -> int:
        """Wait until at least the first of the items may go, and return how many may; the others
        are taken later.
        """
        return len(items)

    @asynccontextmanager
    async def away(self, items: Sequence[Any]) -> AsyncIterator[Sequence[Any]]:
        """Enclose the time in which admitted items are away: begin by yielding those that go now;
        the others are put on as they are.

        The block has ended before the items are put on, without an error when they were answered.
        """
        yield items

    async def run(self) -> None:
        """Send all items over and put on what comes back."""
        hosting = self.hosting()
        hosting.executor.start_soon()
        slots = asyncio.Semaphore(hosting.batches)
        with ExitStack() as meters:
            counted = self._counted = _Counted(self, meters)
            async with task_group() as group:
                await slots.acquire()
                while await self._input().ready():
                    batch = await self._next_batch(hosting)
                    if batch:
                        group.create_task(self._host(batch, hosting, counted, slots))
                        await slots.acquire()

    def _hosted_statistics(self) -> Sequence[StageStatistics]:
        return () if self._counted is None else self._counted.stages

    async def _next_batch(self, hosting: Hosting) -> list[Any]:
        channel = self._input()
        share = math.ceil(len(channel) / hosting.batches)
        taken = channel.take(min(share, hosting.largest_batch))
        batch = [item for item in taken if self.wants(item)]
        if len(batch) < len(taken):
            await self.put_all([item for item in taken if not self.wants(item)])
        if batch:
            with self.working():
                admitted = await self.admit(batch)
            channel.restore(batch[admitted:])
            del batch[admitted:]
        return batch

    async def _host(
        self,
        batch: list[Any],
        hosting: Hosting,
        counted: "_Counted",
        slots: asyncio.Semaphore,
    ) -> None:
        try:
            with self.working():
                async with task_group() as group:
                    async with self.away(batch) as going:
                        staying = _without(batch, going)
                        if staying:
                            # Not awaited here: who takes them may wait for those that go.
                            group.create_task(self.put_all(staying))
                        answered = await _ask(going, hosting, counted) if going else []
                    await self.put_all(answered)
        finally:
            slots.release()


async def _ask(batch: Sequence[Any], hosting: Hosting, counted: "_Counted") -> list[Any]:
    """Return what a worker puts on of the batch."""
    question = BatchRequest(hosting.terms, hosting.codec.encode(batch))
    encoded = await ask(hosting.executor, hosting.work, msgspec.msgpack.encode(question))
    return _merge(msgspec.msgpack.decode(encoded, type=BatchReply), batch, hosting.codec, counted)


def _without(batch: Sequence[Any], going: Sequence[Any]) -> list[Any]:
    if len(going) == len(batch):
        return []
    gone = set(map(id, going))
    return [item for item in batch if id(item) not in gone]


class _Counted:
    """What the stages of a segment counted in workers. Their meters end with the segment, as
    completed, failed or canceled.
    """

    def __init__(self, stage: Stage, ends: ExitStack) -> None:
        self.stages: list[StageStatistics] = []
        self._stage = stage
        self._ends = ends
        self._meters: dict[str, Meter] = {}

    def add(self, answer: BatchReply) -> None:
        """Add what an answer says of one batch."""
        if self.stages:
            found = zip(self.stages, answer.stages, strict=True)
            self.stages = [summed(before, each) for before, each in found]
        else:
            self.stages = list(answer.stages)
        for reading in answer.readings:
            meter = self._meters.get(reading.code)
            if meter is None:
                meter = self._stage.meter(reading.code, reading.message)
                self._meters[reading.code] = self._ends.enter_context(meter)
            meter.advance(reading.done, reading.size)


def _merge(
    answer: BatchReply, batch: Sequence[Any], codec: Codec[Any], counted: _Counted
) -> list[Any]:
    if answer.failure is not None:
        raise unpack_error(answer.failure)
    # Who takes a batch back does not wait for its answer.
    if answer.stopped:
        raise PipelineError(
            "a worker stopped work that was still wanted: its executor said it was not"
        )
    counted.add(answer)
    put_on = codec.merge(answer.body, batch, answer.order)
    for position in answer.resolved:
        batch[position].resolve()
    return put_on
