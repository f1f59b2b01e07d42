"""What passed through the stages of a pipeline."""

import msgspec

from flowsync.pipeline.channel import ChannelStatistics


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
