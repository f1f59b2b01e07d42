import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync.errors import PipelineError, StageEndedEarlyError
from flowsync.pipeline.channel import Channel, ChannelStatistics
from tests.unit.pipeline.actors import turns, until

Start = Callable[..., asyncio.Task[Any]]


def full(*items: int) -> Channel[int]:
    channel: Channel[int] = Channel(len(items))
    for item in items:
        assert channel.offer(item)
    return channel


async def drain(channel: Channel[int]) -> list[int]:
    found: list[int] = []
    while await channel.ready():
        found.append(channel.pop())
    return found


async def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    channel: Channel[int] = Channel(3)

    await channel.send(1)
    await channel.send_all([2, 3])
    channel.close()

    assert await drain(channel) == [1, 2, 3]


async def test_channel_takes_no_more_than_it_has_room_for() -> None:
    channel = full(1, 2)

    assert not channel.offer(3)
    assert len(channel) == 2


async def test_send_waits_for_room(start: Start) -> None:
    channel = full(1)
    sending = start(channel.send(2))
    await until(lambda: channel.sender_waits)

    assert channel.pop() == 1
    await sending

    assert channel.pop() == 2


def test_channel_without_room_is_refused() -> None:
    with pytest.raises(PipelineError, match="holds at least 1 item, found maxsize 0"):
        Channel(0)


async def test_all_of_many_senders_are_served_in_the_order_in_which_they_came(start: Start) -> None:
    """Several child tasks of a stage that put at once used to wait for ever after the first of
    them.
    """
    channel: Channel[int] = Channel(1)
    senders = [start(channel.send(number)) for number in range(5)]
    await turns(1)

    found: list[int] = []
    while len(found) < 5:
        assert await channel.ready()
        found.append(channel.pop())

    assert found == [0, 1, 2, 3, 4]
    await asyncio.gather(*senders)


async def test_nobody_overtakes_a_sender_that_waits(start: Start) -> None:
    channel = full(1)
    waiting = start(channel.send(2))
    await until(lambda: channel.sender_waits)

    channel.pop()
    overtakes = channel.offer(3)
    await waiting

    assert not overtakes
    assert channel.take(9) == [2]


async def test_one_take_makes_room_for_as_many_senders(start: Start) -> None:
    channel = full(1, 2, 3)
    senders = [start(channel.send(number)) for number in (4, 5, 6, 7)]
    await turns(1)

    assert channel.take(3) == [1, 2, 3]
    await asyncio.gather(*senders[:3])

    assert channel.take(3) == [4, 5, 6]
    await senders[3]


async def test_take_leaves_what_is_beyond_its_limit() -> None:
    channel = full(1, 2, 3)

    assert channel.take(2) == [1, 2]
    assert channel.take(2) == [3]
    assert channel.take(2) == []


async def test_send_all_sends_more_than_there_is_room_for(start: Start) -> None:
    channel: Channel[int] = Channel(2)
    sending = start(channel.send_all([1, 2, 3, 4, 5]))

    found: list[int] = []
    while len(found) < 5:
        await channel.ready()
        assert len(channel) <= 2
        found.extend(channel.take(9))

    assert found == [1, 2, 3, 4, 5]
    await sending


async def test_ready_tells_the_end_of_the_stream() -> None:
    channel = full(1)
    channel.close()

    assert await channel.ready()
    assert not channel.exhausted
    channel.pop()

    assert not await channel.ready()
    assert channel.exhausted


async def test_close_ends_a_wait(start: Start) -> None:
    channel: Channel[int] = Channel()
    reading = start(channel.ready())
    await until(lambda: channel.receiver_waits)

    channel.close()

    assert await reading is False


async def test_wake_ends_a_wait_without_an_item(start: Start) -> None:
    channel: Channel[int] = Channel()
    waiting = start(channel.wait())
    await until(lambda: channel.receiver_waits)

    channel.wake()
    await waiting

    assert not channel.receiver_waits


async def test_a_second_receiver_is_refused(start: Start) -> None:
    channel: Channel[int] = Channel()
    first = start(channel.wait())
    await until(lambda: channel.receiver_waits)

    with pytest.raises(PipelineError, match="two tasks of one stage wait for its next item"):
        await channel.wait()

    channel.close()
    await first


async def test_cancelled_receiver_loses_nothing(start: Start) -> None:
    channel: Channel[int] = Channel()
    reading = start(channel.ready())
    await until(lambda: channel.receiver_waits)

    channel.offer(1)
    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading
    assert channel.take(9) == [1]


async def test_waiting_and_later_senders_are_told_that_the_receiver_left(start: Start) -> None:
    channel = full(1)
    waiting = start(channel.send(2))
    many = start(channel.send_all([3, 4]))
    await until(lambda: channel.sender_waits)

    channel.abandon("Deaf")

    with pytest.raises(StageEndedEarlyError, match="stage Deaf returned although items were still"):
        await waiting
    with pytest.raises(StageEndedEarlyError):
        await many
    with pytest.raises(StageEndedEarlyError):
        await channel.send(5)
    with pytest.raises(StageEndedEarlyError):
        await channel.send_all([6])
    assert channel.take(9) == [1]


async def test_sending_after_the_close_is_an_error() -> None:
    channel: Channel[int] = Channel()
    channel.close()

    with pytest.raises(PipelineError, match="a task that its stage had left behind"):
        await channel.send(1)
    assert len(channel) == 0


@pytest.mark.parametrize("promised", [False, True])
async def test_closing_over_a_sender_that_waits_is_an_error_for_both(
    start: Start, promised: bool
) -> None:
    """Else its item would be lost, or not, by chance."""
    channel = full(1)
    late = start(channel.send(2))
    await until(lambda: channel.sender_waits)
    if promised:
        channel.pop()

    with pytest.raises(PipelineError, match=r"returned while 1 tasks .* still waited to put"):
        channel.close()

    with pytest.raises(PipelineError, match="left behind"):
        await late


async def test_cancelled_sender_has_sent_nothing(start: Start) -> None:
    channel = full(1)
    sending = start(channel.send(2))
    await until(lambda: channel.sender_waits)

    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    assert not channel.sender_waits
    assert channel.take(9) == [1]
    assert channel.offer(3)


async def test_place_promised_to_a_cancelled_sender_goes_to_the_next(start: Start) -> None:
    channel = full(1)
    first, second = start(channel.send(2)), start(channel.send(3))
    await turns(1)

    channel.pop()
    first.cancel()

    await second
    assert channel.take(9) == [3]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_place_promised_to_a_cancelled_sender_is_free_when_there_is_no_next(
    start: Start,
) -> None:
    channel = full(1)
    sending = start(channel.send(2))
    await until(lambda: channel.sender_waits)

    channel.pop()
    sending.cancel()
    await asyncio.wait([sending])

    assert channel.offer(3)
    assert not channel.offer(4)


async def test_cancelled_sender_that_a_pop_meets_first_ends_as_cancelled(start: Start) -> None:
    """The pop had taken it out of the queue already, and its clean-up failed with a ValueError."""
    channel = full(1)
    sending = start(channel.send(2))
    await until(lambda: channel.sender_waits)

    sending.cancel()
    channel.pop()

    with pytest.raises(asyncio.CancelledError):
        await sending
    assert channel.offer(3)


async def test_cancelled_send_all_has_sent_the_first_items(start: Start) -> None:
    channel: Channel[int] = Channel(2)
    sending = start(channel.send_all([1, 2, 3, 4]))
    await until(lambda: channel.sender_waits)

    sending.cancel()
    await asyncio.wait([sending])

    assert channel.take(9) == [1, 2]
    assert channel.offer(5)
    assert channel.offer(6)
    assert not channel.offer(7)


async def test_restored_items_come_first_and_take_up_room() -> None:
    channel = full(1, 2, 3)
    taken = channel.take(2)
    channel.offer(4)

    channel.restore(taken)

    assert not channel.offer(5)
    assert channel.take(9) == [1, 2, 3, 4]


async def test_sender_waits_until_restored_items_have_made_room(start: Start) -> None:
    channel = full(1, 2)
    taken = channel.take(2)
    await channel.send_all([3, 4])
    channel.restore(taken)
    sending = start(channel.send(5))
    await until(lambda: channel.sender_waits)

    channel.take(2)
    await turns(3)
    assert not sending.done()
    channel.pop()
    await sending

    assert channel.take(9) == [4, 5]


async def test_statistics_tell_what_went_through(start: Start) -> None:
    channel: Channel[int] = Channel(2)
    await channel.send_all([1, 2])
    sending = start(channel.send(3))
    await until(lambda: channel.sender_waits)
    channel.take(2)
    await sending

    found = channel.statistics()

    assert found == ChannelStatistics(
        capacity=2,
        waiting=1,
        sent=3,
        peak=2,
        sender_waited=found.sender_waited,
        receiver_waited=0.0,
    )
    assert found.sender_waited >= 0.0


async def test_statistics_tell_how_long_each_end_has_waited(start: Start) -> None:
    channel: Channel[int] = Channel(1)
    reading = start(channel.ready())
    await until(lambda: channel.receiver_waits)
    # The loop's own clock, which the channel reads too, has to move on.
    await asyncio.sleep(0.002)
    channel.offer(1)
    await reading
    sending = start(channel.send(2))
    await until(lambda: channel.sender_waits)
    await asyncio.sleep(0.002)
    channel.pop()
    await sending

    found = channel.statistics()

    assert found.receiver_waited >= 0.001
    assert found.sender_waited >= 0.001


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("cancel"), st.integers(0, 3)),
        st.tuples(st.just("take"), st.integers(1, 3)),
        st.tuples(st.just("restore"), st.integers(1, 3)),
        st.tuples(st.just("turn"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(maxsize=st.integers(1, 4), steps=STEPS)
def test_an_item_arrives_exactly_when_its_send_returned(
    maxsize: int, steps: list[tuple[str, int]]
) -> None:
    sent, found = asyncio.run(act(maxsize, steps))

    # Each of four senders sent numbers of its own, in order.
    assert [[n for n in found if n // 100 == sender] for sender in range(4)] == sent


async def act(maxsize: int, steps: list[tuple[str, int]]) -> tuple[list[list[int]], list[int]]:
    """Return what each sender has sent while its sending was cancelled now and then, and what
    arrived.
    """

    async def send(sender: int) -> None:
        for number in range(sender * 100, sender * 100 + 8):
            try:
                await channel.send(number)
            except asyncio.CancelledError:
                continue
            sent[sender].append(number)

    channel: Channel[int] = Channel(maxsize)
    sent: list[list[int]] = [[], [], [], []]
    found: list[int] = []
    senders = [asyncio.create_task(send(sender)) for sender in range(4)]
    for step, number in steps:
        match step:
            case "cancel":
                senders[number].cancel()
            case "take":
                found.extend(channel.take(number))
            case "restore":
                channel.restore(channel.take(number))
            case "turn":
                await asyncio.sleep(0)
    while not all(sender.done() for sender in senders):
        found.extend(channel.take(9))
        await asyncio.sleep(0)
    return sent, [*found, *channel.take(9)]
