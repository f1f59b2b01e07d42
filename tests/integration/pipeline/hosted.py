"""Segments that the tests of hosting run, in process or in workers: what they do is said in a list
of steps.

Workers import this module; it is light.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from flowsync.pipeline.remote.protocol import NEW, BatchRequest
from flowsync.pipeline.remote.segment import HostedSegment, Hosting
from flowsync.pipeline.remote.segment_worker import answer
from flowsync.pipeline.resolution import Resolvable
from flowsync.pipeline.stage import Stage
from flowsync.runtime.executor import Executor, Wanted

Name = tuple[int, ...]
Steps = list[list[object]]


class Unit(Resolvable):
    """An item with a name, and the process that marked it."""

    def __init__(self, name: Name, pid: int = 0) -> None:
        super().__init__()
        self.name = name
        self.pid = pid

    def __str__(self) -> str:
        return f"unit {self.name}"


class BadUnitError(Exception):
    """Has an attribute, and a constructor that its arguments do not fit."""

    def __init__(self, name: Name) -> None:
        super().__init__(f"unit {name} is bad")
        self.args = (name,)
        self.name = name

    def __str__(self) -> str:
        return f"unit {self.name} is bad"


class ShyError(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("stays at home")
        self.lock = threading.Lock()


class Pass(Stage):
    async def run(self) -> None:
        async for unit in self.items():
            await self.put(unit)


class Mark(Stage):
    """Notes the process, and counts."""

    async def run(self) -> None:
        with self.meter("marking", "Marking") as meter:
            async for unit in self.items():
                unit.pid = os.getpid()
                meter.advance(1, 10)
                await self.put(unit)


class Filter(Stage):
    """Drops every n-th unit and says so; with `silent`, without a word."""

    def __init__(self, every: int, *, silent: bool = False) -> None:
        self.every = every
        self.silent = silent

    async def run(self) -> None:
        async for unit in self.items():
            if sum(unit.name) % self.every:
                await self.put(unit)
            elif not self.silent:
                unit.resolve()


class FanOut(Stage):
    """Puts two new units behind every n-th one."""

    def __init__(self, every: int) -> None:
        self.every = every

    async def run(self) -> None:
        async for unit in self.items():
            await self.put(unit)
            if sum(unit.name) % self.every == 0:
                await self.put_all([Unit((*unit.name, child)) for child in (0, 1)])


class Batch(Stage):
    def __init__(self, minsize: int) -> None:
        self.minsize = minsize

    async def run(self) -> None:
        async for batch in self.batches(self.minsize):
            await self.put_all(batch)


class Fail(Stage):
    """Fails at the unit of that name."""

    def __init__(self, name: list[int], *, shy: bool = False) -> None:
        self.name = tuple(name)
        self.shy = shy

    async def run(self) -> None:
        async for unit in self.items():
            if unit.name == self.name:
                raise ShyError if self.shy else BadUnitError(unit.name)
            await self.put(unit)


class Die(Stage):
    """Dies by SIGKILL at the unit of that name, as often as there is a file to remove."""

    def __init__(self, name: list[int], folder: str) -> None:
        self.name = tuple(name)
        self.folder = Path(folder)

    async def run(self) -> None:
        async for unit in self.items():
            if unit.name == self.name:
                for life in self.folder.glob("life-*"):
                    life.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
            await self.put(unit)


class Hang(Stage):
    """Tells in a file that it has begun, waits for ever, and tells in another one that it was
    cancelled.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    async def run(self) -> None:
        async for _ in self.items():
            (self.folder / "begun").touch()
            try:
                await asyncio.Event().wait()
            finally:
                (self.folder / "cancelled").touch()


class Block(Stage):
    """Tells in a file that it has begun, and stops the whole process: it hears nothing."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    async def run(self) -> None:
        async for _ in self.items():
            (self.folder / "begun").touch()
            signal.pause()


STAGES: dict[object, Callable[..., Stage]] = {
    stage.__name__: stage for stage in (Pass, Mark, Filter, FanOut, Batch, Fail, Die, Hang, Block)
}


def make(steps: Steps) -> list[Stage]:
    """Return the stages that the steps name."""
    made = []
    for name, *arguments in steps:
        last = arguments[-1] if arguments else None
        if isinstance(last, dict):
            made.append(STAGES[name](*arguments[:-1], **last))
        else:
            made.append(STAGES[name](*arguments))
    return made


class UnitCodec:
    """Both sides of the crossing: a unit is its name and its mark."""

    def encode(self, items: Sequence[Unit], order: Sequence[int] = ()) -> bytes:
        return msgspec.msgpack.encode([(unit.name, unit.pid) for unit in items])

    def decode(self, body: bytes) -> list[Unit]:
        found = msgspec.msgpack.decode(body, type=list[tuple[Name, int]])
        return [Unit(name, pid) for name, pid in found]

    def merge(self, answer: bytes, items: Sequence[Unit], order: Sequence[int]) -> list[Unit]:
        found = self.decode(answer)
        for number, position in enumerate(order):
            if position != NEW:
                items[position].pid = found[number].pid
                found[number] = items[position]
        return found


def work(question: bytes, is_wanted: Wanted) -> bytes:
    """Do the steps in a worker."""
    asked = msgspec.msgpack.decode(question, type=BatchRequest)
    stages = make(msgspec.msgpack.decode(asked.terms))
    return asyncio.run(answer(asked, is_wanted, UnitCodec(), stages))


class HostedSteps(HostedSegment):
    """The steps as a hosted segment. Units in `at_home` do not cross."""

    def __init__(
        self,
        executor: Executor,
        steps: Steps,
        *,
        largest_batch: int = 64,
        at_home: frozenset[Name] = frozenset(),
    ) -> None:
        self.given = Hosting(
            executor=executor,
            work=work,
            codec=UnitCodec(),
            terms=msgspec.msgpack.encode(steps),
            largest_batch=largest_batch,
        )
        self.at_home = at_home

    def hosting(self) -> Hosting:
        return self.given

    def wants(self, item: Unit) -> bool:
        return item.name not in self.at_home


def warm_up() -> None:
    """Import this module, which is done by finding this function."""
