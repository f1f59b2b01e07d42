import asyncio
import gc
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowsync.errors import PipelineError
from flowsync.pipeline.budget import Budget, Lease
from tests.unit.pipeline.actors import turns, until

Start = Callable[..., asyncio.Task[Any]]


def in_flight(budget: Budget) -> tuple[int, int]:
    return budget.items_in_flight, budget.size_in_flight


async def test_three_taken_and_three_given_back_leave_nothing_in_flight() -> None:
    budget = Budget(items=5)
    leases = [await budget.acquire(10) for _ in range(3)]
    taken = in_flight(budget)

    for lease in leases:
        lease.release()

    assert taken == (3, 30)
    assert in_flight(budget) == (0, 0)


async def test_bytes_are_added_and_subtracted() -> None:
    budget = Budget(size=1000)
    first = await budget.acquire(400)
    second = await budget.acquire(100, items=2)

    first.release()

    assert in_flight(budget) == (2, 100)
    assert (second.size, second.items) == (100, 2)


async def test_lease_is_given_back_once_however_often_it_is_released() -> None:
    """Instead of clamping at zero, nothing can be given back that was not taken."""
    budget = Budget(items=5)
    other = await budget.acquire(1)
    lease = await budget.acquire(10)

    for _ in range(3):
        lease.release()

    assert in_flight(budget) == (1, 1)
    other.release()


@pytest.mark.parametrize(
    ("limits", "held", "wanted"),
    [
        pytest.param({"items": 2}, [5, 5], 5, id="items"),
        pytest.param({"size": 10}, [4, 5], 2, id="bytes"),
        pytest.param({"size": 100, "items": 2}, [5, 5], 5, id="both, items"),
        pytest.param({"size": 10, "items": 9}, [4, 5], 2, id="both, bytes"),
        pytest.param({"size": 10}, [50], 1, id="oversized in flight"),
        pytest.param({"size": 0}, [1], 1, id="no bytes at all"),
    ],
)
async def test_who_goes_beyond_a_limit_waits_for_a_release(
    start: Start, limits: dict[str, int], held: list[int], wanted: int
) -> None:
    budget = Budget(**limits)
    leases = [await budget.acquire(size) for size in held]
    taking = start(budget.acquire(wanted))
    await turns(3)
    waited = not taking.done()

    leases[0].release()
    lease = await taking

    assert waited
    assert in_flight(budget) == (len(held), sum(held) - held[0] + wanted)
    lease.release()


@pytest.mark.parametrize(("limits", "size"), [({"size": 10}, 500), ({"items": 0}, 1)])
async def test_anything_passes_when_nothing_is_in_flight(limits: dict[str, int], size: int) -> None:
    budget = Budget(**limits)

    lease = await budget.acquire(size, items=3)

    assert in_flight(budget) == (3, size)
    lease.release()


async def test_who_waits_presses_until_he_is_served(start: Start) -> None:
    budget = Budget(items=1)
    lease = await budget.acquire(1)
    taking = start(budget.acquire(1))
    await turns(1)
    pressed = bool(budget.pressure)

    lease.release()

    assert pressed
    assert not budget.pressure
    await taking


async def test_a_release_that_serves_only_some_leaves_the_pressure(start: Start) -> None:
    budget = Budget(items=1)
    lease = await budget.acquire(1)
    taking = [start(budget.acquire(1)) for _ in range(2)]
    await turns(1)

    lease.release()

    assert budget.pressure
    (await taking[0]).release()
    await taking[1]
    assert not budget.pressure


async def test_who_finds_room_does_not_press() -> None:
    calls: list[str] = []
    budget = Budget(size=10, items=2)
    budget.pressure.subscribe(lambda: calls.append("pressed"))

    leases = [await budget.acquire(5), await budget.acquire(5)]

    assert calls == []
    assert in_flight(budget) == (len(leases), 10)


async def test_budget_without_limits_never_waits_and_still_counts() -> None:
    budget = Budget()

    leases = [await budget.acquire(10**12) for _ in range(100)]

    assert in_flight(budget) == (len(leases), 10**14)
    assert not budget.pressure


async def test_ten_producers_and_one_consumer_all_finish() -> None:
    budget = Budget(size=50, items=3)
    leases: asyncio.Queue[Lease] = asyncio.Queue()

    async def produce() -> None:
        for size in range(20):
            leases.put_nowait(await budget.acquire(size))

    async def consume() -> None:
        for _ in range(200):
            (await leases.get()).release()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(produce())
        tasks.create_task(consume())

    assert in_flight(budget) == (0, 0)
    assert not budget.pressure


async def test_waiters_are_served_in_the_order_in_which_they_came(start: Start) -> None:
    budget = Budget(size=10)
    first = await budget.acquire(6)
    large = start(budget.acquire(8))
    await turns(1)
    small = start(budget.acquire(1))
    await turns(3)
    overtook = small.done()

    first.release()
    await large
    await small

    assert not overtook
    assert in_flight(budget) == (2, 9)


async def test_one_release_serves_as_many_as_fit(start: Start) -> None:
    budget = Budget(size=10)
    first = await budget.acquire(10)
    taking = [start(budget.acquire(size)) for size in (3, 3, 3, 3)]
    await turns(1)

    first.release()
    await asyncio.gather(*taking[:3])
    await turns(3)

    assert not taking[3].done()
    assert in_flight(budget) == (3, 9)


async def test_waiter_that_is_cancelled_takes_nothing(start: Start) -> None:
    budget = Budget(items=1)
    lease = await budget.acquire(1)
    taking = start(budget.acquire(1))
    await turns(1)

    taking.cancel()
    await asyncio.wait([taking])

    assert taking.cancelled()
    assert not budget.pressure
    lease.release()
    assert in_flight(budget) == (0, 0)


async def test_waiter_that_is_cancelled_no_longer_blocks_those_behind_it(start: Start) -> None:
    budget = Budget(size=10)
    held = await budget.acquire(5)
    large = start(budget.acquire(8))
    await turns(1)
    small = start(budget.acquire(2))
    await turns(1)

    large.cancel()

    await small
    assert in_flight(budget) == (2, 7)
    held.release()


async def test_share_granted_to_a_cancelled_waiter_goes_to_the_next(start: Start) -> None:
    budget = Budget(items=1)
    lease = await budget.acquire(1)
    first, second = start(budget.acquire(2)), start(budget.acquire(3))
    await turns(1)

    lease.release()
    first.cancel()

    assert (await second).size == 3
    assert first.cancelled()
    assert in_flight(budget) == (1, 3)


async def test_cancelled_waiter_that_a_release_meets_first_ends_as_cancelled(
    start: Start,
) -> None:
    """The release had taken it out of the queue already, and its clean-up failed with a
    ValueError.
    """
    budget = Budget(items=1)
    lease = await budget.acquire(1)
    taking = start(budget.acquire(1))
    await turns(1)

    taking.cancel()
    lease.release()
    await asyncio.wait([taking])

    assert taking.cancelled()
    assert in_flight(budget) == (0, 0)


async def test_forgotten_lease_is_given_back() -> None:
    budget = Budget(items=1)
    lease = await budget.acquire(7)

    del lease

    again = await budget.acquire(1)
    assert in_flight(budget) == (again.size, again.items) == (1, 1)


async def test_lease_forgotten_after_its_release_is_not_given_back_twice() -> None:
    budget = Budget(items=5)
    other = await budget.acquire(1)
    lease = await budget.acquire(7)
    lease.release()

    del lease
    await turns(3)

    assert in_flight(budget) == (1, 1)
    other.release()


async def test_lease_that_the_collector_finds_in_another_thread_is_given_back_in_the_loop(
    start: Start, no_collector: None
) -> None:
    """It served the waiters from that thread, and nothing woke the loop."""

    class Ring:
        def __init__(self, lease: Lease) -> None:
            self.lease = lease
            self.ring = self

    budget = Budget(items=1)
    Ring(await budget.acquire(1))
    taking = start(budget.acquire(2))
    await turns(1)

    collector = threading.Thread(target=gc.collect)
    collector.start()
    collector.join()
    after_collection = in_flight(budget)
    await taking

    assert after_collection == (1, 1)
    assert in_flight(budget) == (1, 2)


async def test_lease_forgotten_when_its_loop_is_gone_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def take_in_another_loop() -> Lease:
        return asyncio.run(Budget(items=1).acquire(1))

    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    lease = await asyncio.to_thread(take_in_another_loop)

    del lease

    assert raised == []


@pytest.mark.parametrize("limits", [{"size": -1}, {"items": -1}])
def test_negative_limits_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(PipelineError, match="a budget cannot be negative, found size="):
        Budget(**limits)


@pytest.mark.parametrize(("size", "items"), [(-1, 1), (1, 0)])
async def test_impossible_lease_is_refused(size: int, items: int) -> None:
    with pytest.raises(PipelineError, match=r"a lease of .* cannot be"):
        await Budget().acquire(size, items)


def test_lull_comes_when_the_last_one_has_given_back_or_failed() -> None:
    budget = Budget()
    told: list[bool] = []
    budget.lull.subscribe(lambda: told.append(bool(budget.lull)))
    with budget.account() as account, budget.account() as other:
        before = bool(account.lull)
        with account.relieving():
            with suppress(ZeroDivisionError), other.relieving():
                raise ZeroDivisionError
            within = bool(account.lull)

    assert (before, within, bool(budget.lull)) == (True, False, True)
    assert told == [True]


async def test_budget_waits_for_relief_while_it_lacks_room_and_some_is_on_its_way() -> None:
    budget, told = Budget(items=1), []
    lease = await budget.acquire(0)
    with budget.relieving():
        told.append(budget.waits_for_relief())
    waiting = asyncio.create_task(budget.acquire(0))
    await asyncio.sleep(0)
    told.append(budget.waits_for_relief())
    with budget.relieving():
        told.append(budget.waits_for_relief())
        lease.release()
        told.append(budget.waits_for_relief())
    (await waiting).release()

    assert told == [False, False, True, False]


async def test_account_takes_from_its_budget() -> None:
    budget = Budget(size=10)
    with budget.account() as account:
        lease = await account.acquire(4)
        taken = in_flight(budget)
        lease.release()

        assert taken == (1, 4)
        assert in_flight(budget) == (0, 0)
        assert account.pressure is budget.pressure


async def test_account_that_is_closed_gives_back_what_is_still_out() -> None:
    """The items of a failed run live as long as somebody keeps its error, and another run waited
    for what they held.
    """
    budget = Budget(items=2)
    kept: list[Lease] = []
    with suppress(ValueError), budget.account() as account:
        kept.extend([await account.acquire(3), await account.acquire(4)])
        raise ValueError("failed")

    given_back = in_flight(budget)
    kept[0].release()
    kept.clear()
    await turns(3)

    assert given_back == (0, 0)
    assert in_flight(budget) == (0, 0)


async def test_one_account_leaves_the_leases_of_another_alone(start: Start) -> None:
    budget = Budget(items=2)
    with budget.account() as other:
        kept = await other.acquire(1)
        with budget.account() as account:
            lease = await account.acquire(1)
            taking = start(other.acquire(5))
            await turns(1)
            waited = not taking.done()

        await taking

        assert waited
        assert in_flight(budget) == (2, 6)
        assert (kept.size, lease.size) == (1, 1)


async def test_lease_of_an_account_that_is_forgotten_is_given_back() -> None:
    budget = Budget(items=1)
    with budget.account() as account:
        lease = await account.acquire(1)

        del lease

        await account.acquire(2)
        assert in_flight(budget) == (1, 2)


async def test_account_that_is_closed_gives_no_lease(start: Start) -> None:
    budget = Budget(items=1)
    held = await budget.acquire(1)
    with budget.account() as account:
        late = start(account.acquire(1))
        await until(lambda: bool(budget.pressure))

    held.release()

    with pytest.raises(PipelineError, match="a task that its run had left behind"):
        await late
    assert in_flight(budget) == (0, 0)


@settings(max_examples=100, deadline=None)
@given(
    limits=st.fixed_dictionaries(
        {}, optional={"size": st.integers(0, 10), "items": st.integers(0, 3)}
    ),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=8),
    steps=st.lists(
        st.tuples(st.sampled_from(["cancel", "release", "forget", "turn"]), st.integers(0, 7)),
        max_size=40,
    ),
)
def test_whatever_is_cancelled_released_or_forgotten_the_books_agree(
    limits: dict[str, int], sizes: list[int], steps: list[tuple[str, int]]
) -> None:
    asyncio.run(act(Budget(**limits), sizes, steps))


async def act(budget: Budget, sizes: list[int], steps: list[tuple[str, int]]) -> None:
    async def take(number: int, size: int) -> None:
        leases[number] = await budget.acquire(size)

    leases: dict[int, Lease] = {}
    takers = [asyncio.create_task(take(*numbered)) for numbered in enumerate(sizes)]
    for step, number in steps:
        match step:
            case "cancel":
                takers[number % len(takers)].cancel()
            case "release" if number in leases:
                leases.pop(number).release()
            case "forget":
                leases.pop(number, None)
            case _:
                await turns(1)
        await turns(number % 2)
    # Everyone who was not cancelled is served once the others have given back.
    while not all(taker.done() for taker in takers):
        for lease in leases.values():
            lease.release()
        leases.clear()
        await turns(1)
    await turns(2)

    assert in_flight(budget) == (len(leases), sum(lease.size for lease in leases.values()))
    assert not budget.pressure


async def test_an_offer_is_taken_only_when_nothing_has_to_wait() -> None:
    budget = Budget(items=2)
    with budget.account() as account:
        first = await account.acquire(10)
        second = account.offer(10)

        refused = account.offer(10)

        assert second is not None
        assert refused is None
        assert not budget.pressure
        first.release()
        third = account.offer(10)
        assert third is not None
        assert budget.items_in_flight == 2
    assert budget.items_in_flight == 0
