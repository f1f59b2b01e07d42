"""Runs a list of stages as one pipeline, with structured concurrency.

1. Everything that can be refused is refused before any stage starts.
2. A stage that fails cancels all others, with all their children, and waits for them; so does cancelling the pipeline from outside.
3. The first error comes out as itself, with a note that names the stage; errors of other stages are attached to it.
4. A stage that returns while items are still coming to it is an error: they would be lost, and a mirror would take them for removed.
5. When all stages wait for each other while someone awaits an item that none of them holds, nothing can ever move again. That is noticed after
   `stall_timeout` seconds and is an error that names the item.

Decided: a stall is inferred from what channels and items know, instead of tracing which task belongs to which stage. Of the first stage nothing
is known while it does not await an item itself: it counts as waiting when nothing else moves, because it often waits for children of its own
(`gather` over resolutions). A first stage that is slow on its own account, while others await an item that was dropped, says so by `working()`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from flowsync.model.errors import (
    PipelineError,
    PipelineStalledError,
    RepeatedStageError,
    StageEndedEarlyError,
)
from flowsync.pipeline.channel import Channel, ChannelStatistics
from flowsync.pipeline.progress import Progress
from flowsync.pipeline.resolution import Waiting
from flowsync.pipeline.stage import Stage
from flowsync.pipeline.tasks import break_ring

STALL_TIMEOUT = 300.0
"""Seconds without any movement, with someone awaiting a dropped item, after which a pipeline is given up."""


class StageStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A stage and the channel that leads out of it; the last stage has none.

    `hosted` are the stages in worker processes that do the work of this one, if there are any: summed over all batches, each of which went through
    channels of its own.
    """

    stage: str
    output: ChannelStatistics | None
    hosted: tuple["StageStatistics", ...] = ()


async def create_pipeline(
    stages: Sequence[Stage],
    maxsize: int = 1,
    *,
    context: Any = None,
    progress: Progress | None = None,
    stall_timeout: float | None = STALL_TIMEOUT,
) -> None:
    """Join `stages` by channels of at most `maxsize` items each and run them to their end.

    Beyond `maxsize`, each stage holds what it is working on: one item, or one batch. `context` is what stages with ports are bound to.
    Raise `ValueError` when a stage instance is given more than once, and whatever a stage raises, first error first.
    """
    await Pipeline(
        stages, maxsize, context=context, progress=progress, stall_timeout=stall_timeout
    ).run()


class Pipeline:
    """One run of a list of stages. `statistics` may be read while it runs and afterwards."""

    def __init__(
        self,
        stages: Sequence[Stage],
        maxsize: int = 1,
        *,
        context: Any = None,
        progress: Progress | None = None,
        stall_timeout: float | None = STALL_TIMEOUT,
    ) -> None:
        self._stages = list(stages)
        # By identity: a stage may be a dataclass, whose instances compare equal and cannot be hashed.
        repeated = {
            str(stage)
            for stage in self._stages
            if sum(other is stage for other in self._stages) > 1
        }
        if repeated:
            raise RepeatedStageError(
                f"each stage instance can be used once in a pipeline; repeated: {', '.join(sorted(repeated))}"
            )
        if stall_timeout is not None and stall_timeout <= 0:
            raise PipelineError(
                f"stall_timeout must be positive seconds or None, found {stall_timeout}"
            )
        self._channels: list[Channel[Any]] = [Channel(maxsize) for _ in self._stages[1:]]
        self._context = context
        self._progress = progress
        self._stall_timeout = stall_timeout
        self._waiting = Waiting()
        self._tasks: list[asyncio.Task[None]] = []
        self._errors: list[Exception] = []

    async def run(self) -> None:
        """Run all stages to their end. Raise `PipelineError` when called again."""
        if self._waiting.ended:
            raise PipelineError("a pipeline runs once; make a new one of the same stages")
        self._connect()
        failure: BaseException | None = None
        try:
            await self._run_stages()
        except BaseException as error:
            failure = error
            raise
        finally:
            self._waiting.end(failure)
            for stage in self._stages:
                stage.disconnect()
            # An error holds the frames it passed; a frame that held it in turn would keep every item in flight alive.
            del failure

    def statistics(self) -> list[StageStatistics]:
        """Return, stage by stage, what has passed so far."""
        outputs = [channel.statistics() for channel in self._channels]
        return [
            StageStatistics(
                stage=str(stage), output=output, hosted=tuple(stage._hosted_statistics())
            )
            for stage, output in zip(self._stages, [*outputs, None], strict=False)
        ]

    def _connect(self) -> None:
        ins = [None, *self._channels]
        outs = [*self._channels, None]
        connected: list[Stage] = []
        try:
            receivers = [*self._stages[1:], None]
            for stage, in_q, out_q, receiver in zip(
                self._stages, ins, outs, receivers, strict=False
            ):
                stage.connect(
                    in_q,
                    out_q,
                    waiting=self._waiting,
                    progress=self._progress,
                    context=self._context,
                    receiver=receiver,
                )
                connected.append(stage)
        except BaseException:
            for stage in connected:
                stage.disconnect()
            raise

    async def _run_stages(self) -> None:
        try:
            async with asyncio.TaskGroup() as watch:
                guard = watch.create_task(self._guard_against_stall())
                async with asyncio.TaskGroup() as group:
                    for number, stage in enumerate(self._stages):
                        self._tasks.append(
                            group.create_task(
                                self._host(number, stage), name=f"flowsync stage {stage}"
                            )
                        )
                guard.cancel()
        except BaseExceptionGroup as failed:
            if not self._errors:
                raise
            break_ring(failed, keep=self._errors)
        finally:
            self._tasks.clear()
        if self._errors:
            raise self._first_error()

    async def _host(self, number: int, stage: Stage) -> None:
        try:
            await stage()
            self._check_read_to_end(number, stage)
        except Exception as error:
            self._note_error(error, f"in stage {number + 1} of {len(self._stages)}, {stage}")
            raise

    def _check_read_to_end(self, number: int, stage: Stage) -> None:
        if number == 0:
            return
        channel = self._channels[number - 1]
        if len(channel):
            raise StageEndedEarlyError(
                f"stage {stage} returned with {len(channel)} items waiting for it; "
                "a stage must read its input to the end"
            )
        if not channel.exhausted:
            channel.abandon(str(stage))

    def _note_error(self, error: Exception, where: str) -> None:
        error.add_note(where)
        self._errors.append(error)

    def _first_error(self) -> Exception:
        first, *others = self._errors
        self._errors.clear()
        for other in others:
            first.add_note(f"then also {' '.join(other.__notes__)}: {other!r}")
        return first

    async def _guard_against_stall(self) -> None:
        if self._stall_timeout is None:
            return
        while True:
            moved = self._movement()
            await asyncio.sleep(self._stall_timeout)
            if self._movement() == moved and self._stalled():
                raise self._stall_error(self._stall_timeout)

    def _stall_error(self, seconds: float) -> PipelineStalledError:
        error = PipelineStalledError(
            f"nothing moved for {seconds:g} s: all stages wait for each other while someone awaits "
            f"{self._waiting.describe()}, which a stage dropped without calling resolve()"
        )
        self._note_error(error, "while watching all stages")
        return error

    def _movement(self) -> int:
        return sum(channel.sent for channel in self._channels)

    def _stalled(self) -> bool:
        """Whether someone awaits an item that no stage holds in its channel, in its hands or in those of its children."""
        running = [number for number, task in enumerate(self._tasks) if not task.done()]
        if not self._waiting or any(self._stages[number]._busy for number in running):
            return False
        waiters = self._waiting.tasks()
        return all(
            self._stands_still(number) or self._tasks[number] in waiters for number in running
        )

    def _stands_still(self, number: int) -> bool:
        if number == 0 or self._channels[number - 1].receiver_waits:
            return True
        return number < len(self._channels) and self._channels[number].sender_waits
