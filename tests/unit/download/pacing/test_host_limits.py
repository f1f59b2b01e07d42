"""Slots of a host."""

import asyncio

from flowsync.download.pacing.host_limits import HostLimits
from flowsync.download.transfer.attempt import Tally
from flowsync.model.remote import FetchRequest, Remote

HOST = ("http", "host", 80)
OTHER = ("http", "other", 80)


class Visitors:
    """Tasks that hold a slot until they are told to leave, in the order in which they were
    let in.
    """

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.inside: list[str] = []
        self._group = group
        self._limits = HostLimits(patience=300.0)
        self._leaving: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(
        self,
        name: str,
        limit: int | None,
        origin: tuple[str, str, int] = HOST,
        size: int | None = None,
    ) -> None:
        self._leaving[name] = asyncio.Event()
        remote = Remote(name="r", url="http://host/", download_concurrency=limit)
        request = FetchRequest(url="http://host/a", remote=remote, size=size)
        self.tasks[name] = self._group.create_task(self._visit(name, request, origin))
        await settle()

    def tell_to_leave(self, name: str) -> None:
        self._leaving[name].set()

    async def leave(self, name: str) -> None:
        self.tell_to_leave(name)
        await settle()

    async def _visit(self, name: str, request: FetchRequest, origin: tuple[str, str, int]) -> None:
        async with self._limits.slot(origin, request, Tally(request)):
            self.inside.append(name)
            try:
                await self._leaving[name].wait()
            finally:
                self.inside.remove(name)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_as_many_are_let_in_as_the_limit_says() -> None:
    async with asyncio.TaskGroup() as group:
        visitors = Visitors(group)
        for name in "abc":
            await visitors.come(name, 2)
        assert visitors.inside == ["a", "b"]

        await visitors.leave("a")
        assert visitors.inside == ["b", "c"]

        await visitors.leave("b")
        await visitors.leave("c")


async def test_hosts_do_not_share_slots() -> None:
    async with asyncio.TaskGroup() as group:
        visitors = Visitors(group)
        await visitors.come("a", 1)
        await visitors.come("b", 1, OTHER)
        assert visitors.inside == ["a", "b"]

        await visitors.leave("a")
        await visitors.leave("b")


async def test_line_is_kept_and_its_most_modest_counts() -> None:
    async with asyncio.TaskGroup() as group:
        visitors = Visitors(group)
        for name, limit in (("a", 2), ("b", 2), ("modest", 1), ("c", 2)):
            await visitors.come(name, limit)
        await visitors.leave("a")
        assert visitors.inside == ["b"]

        await visitors.leave("b")
        assert visitors.inside == ["modest", "c"]

        await visitors.leave("modest")
        await visitors.leave("c")


async def test_whoever_is_cancelled_in_the_line_holds_nobody_up() -> None:
    async with asyncio.TaskGroup() as group:
        visitors = Visitors(group)
        for name, limit in (("a", 2), ("modest", 1), ("b", 2)):
            await visitors.come(name, limit)
        visitors.tasks["modest"].cancel()
        await settle()
        assert visitors.inside == ["a", "b"]

        await visitors.leave("a")
        await visitors.leave("b")


async def test_slot_granted_to_a_task_that_is_cancelled_in_the_same_instant_is_handed_on() -> None:
    async with asyncio.TaskGroup() as group:
        visitors = Visitors(group)
        for name in "abc":
            await visitors.come(name, 1)
        visitors.tell_to_leave("a")
        await asyncio.sleep(0)
        assert visitors.inside == []
        visitors.tasks["b"].cancel()
        await settle()
        assert visitors.inside == ["c"]

        await visitors.leave("c")


async def test_the_largest_is_let_in_first_and_metadata_before_all() -> None:
    async with asyncio.TaskGroup() as group:
        visitors = Visitors(group)
        await visitors.come("first", 1)
        for name, size in (("small", 1), ("large", 9), ("metadata", None), ("middle", 5)):
            await visitors.come(name, 1, size=size)

        order = []
        for _ in range(5):
            (inside,) = visitors.inside
            order.append(inside)
            await visitors.leave(inside)

        # The fourth turn is that of whoever has waited longest.
        assert order == ["first", "metadata", "large", "middle", "small"]


async def test_without_a_number_of_its_own_a_remote_begins_with_sixteen_requests() -> None:
    async with asyncio.TaskGroup() as group:
        visitors = Visitors(group)
        for number in range(24):
            await visitors.come(f"{number}", None)

        assert visitors.inside == [f"{number}" for number in range(16)]

        # Each answer lets more in, besides the one that takes its place.
        await visitors.leave("0")
        assert visitors.inside[:17] == [f"{number}" for number in range(1, 18)]
        for number in range(1, 24):
            await visitors.leave(f"{number}")
