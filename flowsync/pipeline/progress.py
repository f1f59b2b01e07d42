"""Plain counters that stages advance and observers read; nothing is formatted or sent on the way.

A stage asks for a meter by a stable code and advances it; whoever shows progress reads all meters a
few times a second. Advancing is two integer additions, so it may be done per item.

What passed through the stages of a pipeline.
"""

from types import TracebackType
from typing import Self

import msgspec

from flowsync.model.events import Reading
from flowsync.pipeline.channel import ChannelStatistics


class Meter:
    """One thing that a stage counts. As a context it ends as completed, failed or canceled, after
    how its block ended.
    """

    __slots__ = ("code", "done", "message", "size", "state", "total")

    def __init__(self, code: str, message: str, total: int | None = None) -> None:
        self.code = code
        self.message = message
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
            done=self.done,
            total=self.total,
            size=self.size,
            state=self.state,
        )


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
