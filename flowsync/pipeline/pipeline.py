"""Runs a list of stages as one pipeline, with structured concurrency.

1. Everything that can be refused is refused before any stage starts.
2. A stage that fails cancels all others, with all their children, and waits for them; so does cancelling the pipeline from outside.
3. The first error comes out as itself, with a note that names the stage; errors of other stages are attached to it.
4. A stage that returns while items are still coming to it is an error: they would be lost, and a mirror would take them for removed.
5. When all stages wait for items while someone awaits an item that none of them holds, nothing can ever move again. That is noticed after
   `stall_timeout` seconds and is an error that names the item.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from flowsync.model.errors import PipelineStalledError, RepeatedStageError, StageEndedEarlyError
from flowsync.pipeline.channel import Channel, ChannelStatistics
from flowsync.pipeline.progress import Progress
from flowsync.pipeline.resolution import Waiting
from flowsync.pipeline.stage import Stage

STALL_TIMEOUT = 300.0
"""Seconds without any movement, with someone awaiting a dropped item, after which a pipeline is given up."""


class StageStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A stage and the channel that leads out of it; the last stage has none."""

    stage: str
    output: ChannelStatistics | None


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
        repeated = {str(stage) for stage in stages if sum(other is stage for other in stages) > 1}
        if repeated:
            raise RepeatedStageError(
                f"each stage instance can be used once in a pipeline; repeated: {', '.join(sorted(repeated))}"
            )
        self._stages = list(stages)
        self._channels: list[Channel[Any]] = [Channel(maxsize) for _ in self._stages[1:]]
        self._context = context
        self._progress = progress
        self._stall_timeout = stall_timeout
        self._waiting = Waiting()
        self._running: set[Stage] = set()
        self._errors: list[Exception] = []

    async def run(self) -> None:
        """Run all stages to their end. May be called once."""
        self._connect()
        failure: BaseException | None = None
        try:
            await self._run_stages()
        except BaseException as error:
            failure = error
            raise
        finally:
            self._waiting.fail_all(failure)
            for stage in self._stages:
                stage.disconnect()

    def statistics(self) -> list[StageStatistics]:
        """Return, stage by stage, what has passed so far."""
        outputs = [channel.statistics() for channel in self._channels]
        return [
            StageStatistics(stage=str(stage), output=output)
            for stage, output in zip(self._stages, [*outputs, None], strict=False)
        ]

    def _connect(self) -> None:
        ins = [None, *self._channels]
        outs = [*self._channels, None]
        connected: list[Stage] = []
        try:
            for stage, in_q, out_q in zip(self._stages, ins, outs, strict=False):
                stage.connect(
                    in_q,
                    out_q,
                    waiting=self._waiting,
                    progress=self._progress,
                    context=self._context,
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
                        self._running.add(stage)
                        group.create_task(self._host(number, stage), name=f"flowsync stage {stage}")
                guard.cancel()
        except BaseExceptionGroup:
            if not self._errors:
                raise
        if self._errors:
            raise self._first_error()

    async def _host(self, number: int, stage: Stage) -> None:
        try:
            await stage()
            self._check_read_to_end(number, stage)
        except Exception as error:
            self._note_error(error, f"in stage {number + 1} of {len(self._stages)}, {stage}")
            raise
        finally:
            self._running.discard(stage)

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
        for other in others:
            first.add_note(f"then also {' '.join(other.__notes__)}: {other!r}")
        return first

    async def _guard_against_stall(self) -> None:
        if self._stall_timeout is None:
            return
        while True:
            moved = self._movement()
            await asyncio.sleep(self._stall_timeout)
            if self._stalled() and self._movement() == moved:
                error = PipelineStalledError(
                    f"nothing moved for {self._stall_timeout:g} s: all stages wait for items while someone awaits "
                    f"{self._waiting.describe()}, which a stage dropped without calling resolve()"
                )
                self._errors.append(error)
                raise error

    def _movement(self) -> int:
        return sum(channel.sent for channel in self._channels)

    def _stalled(self) -> bool:
        """Whether someone awaits an item while no stage but the first has any in its channel, its hands or its children's."""
        if not self._waiting or any(stage._busy for stage in self._running):
            return False
        receivers = zip(self._stages[1:], self._channels, strict=True)
        return all(
            channel.receiver_waits for stage, channel in receivers if stage in self._running
        )
