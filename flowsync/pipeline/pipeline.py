"""Runs a list of stages as one pipeline, with structured concurrency.

1. Everything that can be refused is refused before any stage starts.
2. A stage that fails cancels all others, with all their children, and waits for them, as does a
   cancellation from outside. The first error comes out as itself, with the others attached.
3. A stage ends by returning, by an error, or because the pipeline cancelled it; all else is a
   `StageAbortedError`, but `SystemExit` and `KeyboardInterrupt` come out after the clean-up.
4. A stage that returns while items come to it is an error, because they would be lost. So is a task
   that a stage has left behind (`channel.py`), and an item that such a task puts.
5. A stage that catches its cancellation is cancelled again after a while (`resolution.py`).
6. What can never move again (`Standstill`) is an error that names item and stage.

Also here: when a pipeline can never move again. Only the pipeline sees all stages, so only it can
tell.
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from flowsync.errors import (
    PipelineError,
    PipelineStalledError,
    RepeatedStageError,
    StageAbortedError,
    StageEndedEarlyError,
)
from flowsync.model.measures import problem_with_measure
from flowsync.pipeline.channel import Beginner, Channel, Losses
from flowsync.pipeline.resolution import Resolvable, Waiting, awaited_items, describe, insist
from flowsync.pipeline.stage import Progress, Stage, StageStatistics
from flowsync.runtime.tasks import STOPS, StoppedError, break_ring, first_come

# When a pipeline can never move again: its stages wait for each other, while an item is awaited
# that none of them can bring.
#
# The reasons stand in docs/decisions/0006.


class Standstill:
    """What is looked at of one running pipeline. The lists are the pipeline's own; `tasks` runs the
    stages.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        channels: Sequence[Channel[Any]],
        tasks: Sequence[asyncio.Task[None]],
        waiting: Waiting,
    ) -> None:
        self._stages = stages
        self._channels = channels
        self._tasks = tasks
        self._waiting = waiting

    def stall(self) -> str | None:
        """Say which items are awaited in vain by a pipeline in which nothing moves; `None` when
        something may still move.
        """
        running = self._running()
        if any(self._stages[number]._busy for number in running):
            return None
        awaited = {number: awaited_items(self._tasks[number]) for number in running}
        strays = _each_once(
            item for items in awaited.values() for item in items if not item.was_put
        )
        known = self._waiting.items()
        if not known and not strays:
            return None
        waiters = self._waiting.tasks()
        for number in running:
            waits = self._tasks[number] in waiters or awaited[number]
            if not (waits or self._stands_still(number)):
                return None
        return "; ".join(
            f"a task awaits {describe(items, partial(self._named, awaited))}, {why}"
            for items, why in (
                (known, "which a stage dropped without calling resolve(), or holds while it waits"),
                (strays, "which was never put"),
            )
            if items
        )

    def is_idle(self) -> bool:
        """Say whether no stage works on what it has, as far as can be known; of the first stage
        nothing is.
        """
        return all(
            self._stages[number]._busy or self._stands_still(number) for number in self._running()
        )

    def _running(self) -> list[int]:
        return [number for number, task in enumerate(self._tasks) if not task.done()]

    def _stands_still(self, number: int) -> bool:
        if number == 0 or self._channels[number - 1].receiver_waits:
            return True
        return number < len(self._channels) and self._channels[number].sender_waits

    def _named(self, awaited: dict[int, list[Resolvable]], item: Resolvable) -> str:
        stages = [
            str(self._stages[number])
            for number, items in awaited.items()
            if any(other is item for other in items)
        ]
        return f"{item} (in stage {', '.join(stages)})" if stages else str(item)


def _each_once(items: Iterable[Resolvable]) -> list[Resolvable]:
    return list({id(item): item for item in items}.values())


STALL_TIMEOUT = 300.0
"""Seconds without any movement, with a task awaiting a dropped item, after which a pipeline is
given up.
"""


async def create_pipeline(
    stages: Sequence[Stage],
    maxsize: int = 1,
    *,
    context: Any = None,
    progress: Progress | None = None,
    stall_timeout: float | None = STALL_TIMEOUT,
) -> None:
    """Join `stages` by channels of at most `maxsize` items each and run them to their end.

    Beyond `maxsize`, each stage holds what it is working on: one item, or one batch. `context` is
    what stages with ports are bound to. Raise `ValueError` when a stage instance is given more than
    once, and whatever a stage raises, first error first.
    """
    await Pipeline(
        stages, maxsize, context=context, progress=progress, stall_timeout=stall_timeout
    ).run()


class Pipeline:
    """One run of a list of stages. `statistics` may be read while it runs and afterwards.

    `resolves_on_request` says that its stages resolve items only when a task awaits them, so that
    nothing may wait for all of them.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        maxsize: int = 1,
        *,
        context: Any = None,
        progress: Progress | None = None,
        stall_timeout: float | None = STALL_TIMEOUT,
        resolves_on_request: bool = False,
    ) -> None:
        self._stages = list(stages)
        # By identity: a stage may be a dataclass, whose instances compare equal and cannot be
        # hashed.
        repeated = {
            str(stage)
            for stage in self._stages
            if sum(other is stage for other in self._stages) > 1
        }
        if repeated:
            raise RepeatedStageError(
                "each stage instance can be used once in a pipeline; repeated: "
                f"{', '.join(sorted(repeated))}"
            )
        if stall_timeout is not None:
            problem = problem_with_measure(stall_timeout, "positive seconds or None")
            if problem is not None:
                raise PipelineError(f"stall_timeout {problem}")
        self._losses = Losses()
        self._channels: list[Channel[Any]] = [
            Channel(maxsize, self._losses) for _ in self._stages[1:]
        ]
        self._context = context
        self._progress = progress
        self._stall_timeout = stall_timeout
        self._waiting = Waiting(on_request=resolves_on_request)
        self._tasks: list[asyncio.Task[None]] = []
        self._errors: list[BaseException] = []
        self._owner: asyncio.Task[Any] | None = None
        self._cancellations = 0
        self._standstill = Standstill(self._stages, self._channels, self._tasks, self._waiting)

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
            # An error holds the frames it passed; a frame that held it in turn would keep every
            # item in flight alive.
            del failure

    def movement(self) -> int:
        """Return a number that grows with every item that goes from one stage to the next."""
        return sum([channel.sent for channel in self._channels])

    def is_idle(self) -> bool:
        """Say whether no stage works on what it has, as far as can be known; of the first stage
        nothing is.
        """
        return self._standstill.is_idle()

    def expect_no_loss(self) -> None:
        """Raise `PipelineError` when an item was put that could not be handed on, also since the
        end.
        """
        if self._losses.error is not None:
            raise self._losses.error

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
                    losses=self._losses,
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
        self._owner = asyncio.current_task()
        self._cancellations = 0 if self._owner is None else self._owner.cancelling()
        try:
            async with asyncio.TaskGroup() as group:
                self._start(group)
        except BaseExceptionGroup as failed:
            if not self._errors:
                raise
            break_ring(failed, keep=self._errors)
        finally:
            self._tasks.clear()
        if self._errors:
            raise self._first_error()
        self.expect_no_loss()

    def _start(self, group: asyncio.TaskGroup) -> None:
        # In a frame of its own: one that an error passes must not hold the error's task.
        guard = group.create_task(self._guard())
        if not self._stages:
            guard.cancel()
        for number, stage in enumerate(self._stages):
            task = group.create_task(self._host(number, stage), name=f"flowsync stage {stage}")
            self._tasks.append(task)
            task.add_done_callback(lambda _: self._end_guard(guard))

    async def _host(self, number: int, stage: Stage) -> None:
        where = f"in stage {number + 1} of {len(self._stages)}, {stage}"
        beginner = Beginner()
        try:
            await stage()
            if not self._is_ending():
                beginner.expect_nothing_left(stage, self._tasks)
                self._check_read_to_end(number, stage)
        except asyncio.CancelledError as error:
            if self._is_ending():
                raise
            what = f"a CancelledError came out of stage {stage}, which nobody had cancelled"
            raise self._noted(StageAbortedError(what), where) from error
        except PipelineError as error:
            # What a stage leaves undone when it was told to end is no error.
            if not self._is_ending():
                raise self._noted(error, where) from error.__cause__
        except Exception as error:
            self._noted(error, where)
            raise
        except STOPS as stop:
            # In a task it would break the loop off, with all other tasks.
            stopped = self._noted(StoppedError(), where)
            stop.add_note(where)
            raise stopped from stop
        except BaseException as error:
            what = f"stage {stage} ended with {error!r}, which is no error and no return"
            raise self._noted(StageAbortedError(what), where) from error

    def _is_ending(self) -> bool:
        if self._errors:
            return True
        return self._owner is not None and self._owner.cancelling() > self._cancellations

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

    def _noted(self, error: Exception, where: str) -> Exception:
        error.add_note(where)
        self._errors.append(error)
        return error

    def _first_error(self) -> BaseException:
        first, others = first_come(self._errors)
        self._errors.clear()
        for other in others:
            first.add_note(f"then also {' '.join(other.__notes__)}: {other!r}")
        return first

    def _end_guard(self, guard: asyncio.Task[None]) -> None:
        if all(task.done() for task in self._tasks):
            guard.cancel()

    async def _guard(self) -> None:
        """Fail when an item is lost, or nothing can move any more; when the pipeline ends, see to
        it that all stages do.
        """
        told = asyncio.ensure_future(self._losses.told.wait())
        try:
            while True:
                moved = self.movement()
                await asyncio.wait((told,), timeout=self._stall_timeout)
                if self._is_ending():
                    return
                if self._losses.error is not None:
                    raise self._noted(self._losses.error, "while watching all stages")
                stalled = self._standstill.stall() if self.movement() == moved else None
                if stalled:
                    raise self._noted(self._stall_error(stalled), "while watching all stages")
        except PipelineError:
            for task in self._tasks:
                task.cancel()
            raise
        finally:
            told.cancel()
            for channel in self._channels:
                channel.break_off()
            await insist(self._tasks)

    def _stall_error(self, found: str) -> PipelineStalledError:
        return PipelineStalledError(
            f"nothing moved for {self._stall_timeout:g} s: all stages wait for each other "
            f"while {found}"
        )
