"""The stage: a coroutine between two channels.

1. A stage reads with `items()` or `batches()` and hands on with `put()` or `put_all()`; what it
   does in between is its own.
2. Everything a stage needs from its run is bound to it before it starts: its channels, its progress
   and, for stages that need ports, the run context. The constructor takes none of it, and
   subclasses need not call it.
3. `None` cannot be put: in the Stages API it marks the end. Here the end is the closing of the
   channel, which happens when `run` returns.

Also here: the counters that stages advance. A stage advances them where it hands items on.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, ClassVar, Final, Self

import msgspec

from flowsync.errors import PipelineError, RepeatedStageError, UnboundStageError
from flowsync.model.events import Reading
from flowsync.model.recordable import recordable
from flowsync.pipeline.channel import BatchBuffer, Channel, ChannelStatistics, Losses
from flowsync.pipeline.resolution import Resolvable, Settling, Waiting
from flowsync.runtime.tasks import Signal

# Plain counters that stages advance and observers read; nothing is formatted or sent on the way.
#
# A stage asks for a meter by a stable code and advances it; what shows progress reads all meters
# a few times a second. Advancing is two integer additions, so it may be done per item.


_MOST: Final = (1 << 63) - 1


class Meter:
    """One thing that a stage counts. As a context it ends as completed, failed or canceled, after
    how its block ended.
    """

    __slots__ = ("code", "done", "message", "size", "state", "total")

    def __init__(self, code: str, message: str, total: int | None = None) -> None:
        for text in (code, message):
            if not isinstance(text, str):
                raise PipelineError(
                    f"the code and the message of a meter are texts, found {text!r}"
                )
        # They go into the run's record.
        self.code = recordable(code)
        self.message = recordable(message)
        self.total = total
        self.done = 0
        self.size = 0
        self.state = "running"

    def advance(self, done: int = 1, size: int = 0) -> None:
        """Count `done` more, and `size` more bytes."""
        self.done += done
        self.size += size

    def __enter__(self) -> Self:
        self.state = "running"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.state = "completed"
        else:
            self.state = "failed" if isinstance(error, Exception) else "canceled"

    def read(self) -> Reading:
        """Return the meter as it stands."""
        return Reading(
            code=self.code,
            message=self.message,
            done=_whole(self.done),
            total=None if self.total is None else _whole(self.total),
            size=_whole(self.size),
            state=self.state,
        )


def _whole(count: float) -> int:
    """Return what was counted as a number that can be recorded: a stage may count in anything."""
    try:
        return max(-_MOST, min(int(count), _MOST))
    except (TypeError, ValueError, OverflowError):
        return 0


class Progress:
    """All meters of one run, in the order in which they were first asked for."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter] = {}

    def meter(self, code: str, message: str, total: int | None = None) -> Meter:
        """Return the meter of that code, made on first use; a total that is given replaces the
        known one.
        """
        meter = self._meters.get(code)
        if meter is None:
            meter = self._meters[code] = Meter(code, message)
        if total is not None:
            meter.total = total
        return meter

    def count(self) -> int:
        """Return a number that grows with whatever is counted."""
        return sum(meter.done + meter.size for meter in self._meters.values())

    def read(self) -> tuple[Reading, ...]:
        """Return all meters as they stand."""
        return tuple(meter.read() for meter in self._meters.values())


# What passed through the stages of a pipeline.


class StageStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A stage and the channel that leads out of it; the last stage has none.

    `hosted` are the stages in worker processes that do the work of this one, if there are any:
    summed over all batches, each of which went through channels of its own.
    """

    stage: str
    output: ChannelStatistics | None
    hosted: tuple["StageStatistics", ...] = ()


def summed(one: StageStatistics, other: StageStatistics) -> StageStatistics:
    """Return what passed through the same stage in two runs of it."""
    if one.output is None or other.output is None:
        return other
    output = ChannelStatistics(
        capacity=max(one.output.capacity, other.output.capacity),
        waiting=one.output.waiting + other.output.waiting,
        sent=one.output.sent + other.output.sent,
        peak=max(one.output.peak, other.output.peak),
        sender_waited=one.output.sender_waited + other.output.sender_waited,
        receiver_waited=one.output.receiver_waited + other.output.receiver_waited,
    )
    return StageStatistics(stage=one.stage, output=output)


class Stage:
    """The base of all stages. Subclass it and implement `run`; one instance serves one pipeline at
    a time.

    The simplest stage only hands on:

        class MyStage(Stage):
            async def run(self):
                async for item in self.items():
                    await self.put(item)
    """

    _in_q: Channel[Any] | None = None
    _out_q: Channel[Any] | None = None
    _waiting: Waiting | None = None
    _losses: Losses | None = None
    _progress: Progress | None = None
    _context: Any = None
    _busy = 0
    _settling: Settling | None = None
    _check: "Callable[[Stage, Any], None] | None" = None

    hands_on: ClassVar[bool] = False
    """Whether stages of just this class put only what they were given, so that it need not be
    checked again; subclasses do not inherit it.
    """

    kind_options: Any = None
    """The options that a `SourceKind` made a first stage with; a sync with others is not skipped.
    """

    def __str__(self) -> str:
        return type(self).__name__

    @staticmethod
    def accepts(sender: "Stage", item: Any) -> None:
        """Raise if stages of this class cannot take `item`, which `sender` puts. Unless a subclass
        says otherwise, they take anything.
        """

    async def __call__(self) -> None:
        """Run the stage, then close its output. An error or a cancellation closes nothing: the
        pipeline ends as a whole.
        """
        await self.run()
        if self._out_q is not None:
            self._out_q.close()

    async def run(self) -> None:
        """Do the stage's work; implemented by subclasses. Items end when `items()` or `batches()`
        end.
        """
        raise NotImplementedError(f"stage {self} does not implement run()")

    async def items(self) -> AsyncGenerator[Any, None]:
        """Yield the items of the previous stage one by one as they come."""
        channel = self._input()
        while await channel.ready():
            while channel:
                yield channel.pop()

    async def batches(
        self,
        minsize: int = 500,
        *,
        maxsize: int | None = None,
        pressure: Signal | None = None,
        lull: Signal | None = None,
        between: int = 0,
    ) -> AsyncGenerator[list[Any], None]:
        """Yield lists of items: as many as can be had without waiting, but at least `minsize` and
        at most `maxsize`.

        A smaller list comes at the end of the stream, when a task awaits an item in it (see
        `resolution`), or while `pressure` is set; an empty one never. `maxsize` defaults to 2000,
        or `minsize` if that is larger.

        While `lull` is not set, lists have at least `between` items instead of `minsize`, and
        pressure counts for nothing: what comes meanwhile waits for the next lull.
        """
        channel = self._input()
        buffer: BatchBuffer[Any] = BatchBuffer(minsize, maxsize)
        try:
            while True:
                buffer.extend(channel.take(buffer.room))
                at_least = 0 if lull is None or lull else between
                if buffer.due(ended=channel.exhausted, pressed=bool(pressure), at_least=at_least):
                    yield buffer.release()
                elif channel.exhausted:
                    return
                else:
                    buffer.arm(channel.wake)
                    await _wait_for_more(channel, pressure, lull, buffer.lull)
        finally:
            # Cancelled while the batch was filling: what was taken stays to be read, by another
            # iteration if there is one.
            channel.restore(buffer.release())

    async def put(self, item: Any) -> None:
        """Hand an item to the next stage, waiting while there is no room. Raise `ValueError` when
        the item is `None`.

        A task that puts ends before its stage returns: await it, or begin it in a `TaskGroup`. A
        stage that leaves one behind fails its pipeline. That cannot be known of what has begun no
        task yet: a timer, a thread, or a task that was begun outside the stage or in a context of
        its own. What these put after the stage returned fails the pipeline, or the completion of
        its version, and raises `PipelineError` once that is over.
        """
        if item is None:
            raise ValueError(f"stage {self} cannot put None: it marks the end of the stream")
        channel = self._output()
        if self._check is not None:
            self._check(self, item)
        if isinstance(item, Resolvable):
            item.enter(self._waiting)  # type: ignore[arg-type]  # connected together with the output
        if self._settling is not None:
            self._settling.add((item,))
        if not channel.offer(item):
            await channel.send(item)

    async def put_all(self, items: Sequence[Any]) -> None:
        """Hand several items on, in order, at the cost of one hop for as many as there is
        room for.
        """
        channel = self._output()
        if self._check is not None:
            for item in items:
                self._check(self, item)
        for item in items:
            if item is None:
                raise ValueError(f"stage {self} cannot put None: it marks the end of the stream")
            if isinstance(item, Resolvable):
                item.enter(self._waiting)  # type: ignore[arg-type]
        if self._settling is not None:
            self._settling.add(items)
        await channel.send_all(items)

    @asynccontextmanager
    async def settling(self) -> AsyncIterator[Settling]:
        """Let the block end when all that the stage puts in it is stored, or left out; then
        `left_out` of what it gives has what could not be had. For one block at a time.

        In a plan nothing is stored or left out, and the block does not wait. Raise
        `ItemDroppedError` when the pipeline ends before.
        """
        if self._settling is not None:
            raise PipelineError(f"stage {self} waits already for what it puts to be settled")
        settling = self._settling = Settling()
        try:
            yield settling
        finally:
            self._settling = None
        if self._waiting is not None and not self._waiting.on_request:
            await settling.wait()

    def meter(self, code: str, message: str, total: int | None = None) -> Meter:
        """Return a counter that observers of the run see; outside a run, one that is not seen."""
        if self._progress is None:
            return Meter(code, message, total)
        return self._progress.meter(code, message, total)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Mark that work goes on which the pipeline cannot see, so that waiting for it is not taken
        for a stall.

        Such work is done by child tasks that hold items, or by a first stage that is about to put
        more.
        """
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    def _hosted_statistics(self) -> Sequence[StageStatistics]:
        return ()

    @property
    def context(self) -> Any:
        """The ports of the run. Raise `UnboundStageError` when the pipeline was started without a
        run context.
        """
        if self._context is None:
            raise UnboundStageError(
                f"stage {self} needs a run context: run it through a DeclarativeVersion, "
                "or give create_pipeline(…, context=…) one"
            )
        return self._context

    def connect(
        self,
        in_q: Channel[Any] | None,
        out_q: Channel[Any] | None,
        *,
        waiting: Waiting,
        losses: Losses | None = None,
        progress: Progress | None = None,
        context: Any = None,
        receiver: "Stage | None" = None,
    ) -> None:
        """Bind the stage to a run; the pipeline calls it before any stage starts. `receiver` takes
        what the stage puts.
        """
        if self._waiting is not None:
            raise RepeatedStageError(f"stage {self} is part of another running pipeline")
        self._in_q, self._out_q = in_q, out_q
        self._waiting, self._progress, self._context = waiting, progress, context
        self._losses = losses
        if receiver is not None and not vars(type(self)).get("hands_on", False):
            accepts = type(receiver).accepts
            self._check = None if accepts is Stage.accepts else accepts

    def disconnect(self) -> None:
        """Undo `connect`; the pipeline calls it when all stages have ended.

        What tasks that were left behind put later is noted as lost all the same.
        """
        self._in_q = self._out_q = self._waiting = self._progress = self._context = None
        self._check = None

    def _input(self) -> Channel[Any]:
        if self._in_q is None:
            raise PipelineError(
                f"stage {self} has no input: it is the first of its pipeline, or in none"
            )
        return self._in_q

    def _output(self) -> Channel[Any]:
        if self._out_q is None:
            if self._waiting is None and self._losses is not None:
                late = (
                    f"an item was put by a task that stage {self} had left behind: its "
                    "pipeline "
                    "had ended"
                )
                raise self._losses.note(PipelineError(late))
            raise PipelineError(
                f"stage {self} has no stage behind it to take its items: end the pipeline "
                "with EndStage()"
            )
        return self._out_q


async def _wait_for_more(
    channel: Channel[Any],
    pressure: Signal | None,
    lull: Signal | None,
    note_lull: Callable[[], None],
) -> None:
    """Wait for whatever may make a batch due. Subscribed only while waiting, so that an iteration
    that is broken off leaves nothing behind.
    """
    if pressure is None and lull is None:
        await channel.wait()
        return
    with ExitStack() as subscriptions:
        for signal, tell in ((pressure, channel.wake), (lull, note_lull), (lull, channel.wake)):
            if signal is not None:
                signal.subscribe(tell)
                subscriptions.callback(signal.unsubscribe, tell)
        await channel.wait()


class EndStage(Stage):
    """Takes items and does nothing with them: the end of every pipeline, so that the last stage
    before it never blocks.
    """

    async def __call__(self) -> None:
        async for _ in self.items():
            pass
