"""Versions through a life that nobody thought of, beside a model that keeps every version as a set
in memory.

The model knows nothing of rows. `FLOWSYNC_SOAK` is how many times as many lives are tried as in a
run of all tests.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from itertools import count
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import VersionKeptError
from flowsync.model.content import EMPTY_STATE, root_of, with_units
from flowsync.model.repository import Repository
from tests.integration.catalog.units import Shelf

SOAK = int(os.environ.get("FLOWSYNC_SOAK", "1"))
UNITS = 7

Units = frozenset[int]
Change = tuple[str, Units]

WHICH = st.integers(0, 1)
SOME = st.frozensets(st.integers(0, UNITS - 1))
CHANGES = st.lists(st.tuples(st.sampled_from(["add", "remove", "set", "mirror"]), SOME), max_size=4)
CHOICE = st.integers(0, 99)
"""Picks a version, whatever their number."""


class World:
    """An open database with a few units, and the loop on which all calls run. Repositories have
    names that were never used before.
    """

    def __init__(self, conninfo: str) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._database = Database(conninfo)
        self.repositories = Repositories(self._database)
        self.names = count()
        self.run(self._database.open())
        self.units = self.run(Shelf(self._database).packages(*map(str, range(UNITS))))

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(call)

    def close(self) -> None:
        self.run(self._database.close())
        self._runner.close()


class Model:
    """What a repository should be."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.retain: int | None = None
        self.versions: dict[int, Units] = {0: frozenset()}
        self.protected: set[int] = set()
        self.next = 1

    def pick(self, choice: int) -> int:
        return sorted(self.versions)[choice % len(self.versions)]

    @property
    def latest(self) -> Units:
        return self.versions[max(self.versions)]

    @property
    def repository(self) -> Repository:
        return Repository(name=self.name, retain_versions=self.retain)

    def complete(self, units: Units) -> bool:
        """Add a version unless it would change nothing, and say whether it did."""
        changes = units != self.latest
        if changes:
            self.versions[self.next] = units
            self.next += 1
        self.drop_surplus()
        return changes

    def drop_surplus(self) -> None:
        if self.retain is not None:
            for number in sorted(self.versions.keys() - self.protected)[: -self.retain]:
                del self.versions[number]


def after(start: Units, changes: list[Change]) -> Units:
    now, seen = start, frozenset[int]()
    for kind, chosen in changes:
        match kind:
            case "add":
                now |= chosen
            case "remove":
                now -= chosen
            case "set":
                now = chosen
            case _:
                now |= chosen
                seen |= chosen
    return now & seen if any(kind == "mirror" for kind, _ in changes) else now


class Lives(RuleBasedStateMachine):
    """Two repositories, each beside its model."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.models = [Model(f"r{next(self.world.names)}") for _ in range(2)]
        for model in self.models:
            self.world.run(self.world.repositories.ensure(model.repository))

    @rule(which=WHICH, changes=CHANGES, fails=st.sampled_from([False, False, False, True]))
    def change(self, which: int, changes: list[Change], fails: bool) -> None:
        model = self.models[which]
        self._make(model, None, model.latest, changes, fails=fails)

    @rule(which=WHICH, of=WHICH, choice=CHOICE, changes=CHANGES)
    def change_on_a_base(self, which: int, of: int, choice: int, changes: list[Change]) -> None:
        source = self.models[of]
        number = source.pick(choice)
        base = (source.name, number)
        self._make(self.models[which], base, source.versions[number], changes, fails=False)

    @rule(which=WHICH, choice=CHOICE)
    def roll_back(self, which: int, choice: int) -> None:
        model = self.models[which]
        number = model.pick(choice)
        units = model.versions[number]
        made = self.world.run(self.world.repositories.roll_back(model.name, number))
        assert (made is not None) == model.complete(units)

    @rule(which=WHICH, choice=CHOICE)
    def delete(self, which: int, choice: int) -> None:
        model = self.models[which]
        number = model.pick(choice)
        deletion = self.world.repositories.delete_version(model.name, number)
        if number in model.protected or len(model.versions) == 1:
            with pytest.raises(VersionKeptError):
                self.world.run(deletion)
            return
        successor = self.world.run(deletion)
        del model.versions[number]
        later = [kept for kept in model.versions if kept > number]
        assert (successor and successor.number) == min(later, default=None)

    @rule(which=WHICH, choice=CHOICE, protected=st.booleans())
    def protect(self, which: int, choice: int, protected: bool) -> None:
        model = self.models[which]
        number = model.pick(choice)
        change = model.protected.add if protected else model.protected.discard
        change(number)
        repositories = self.world.repositories
        self.world.run(repositories.protect_version(model.name, number, protected=protected))

    @rule(which=WHICH, retain=st.one_of(st.none(), st.integers(1, 4)))
    def retain(self, which: int, retain: int | None) -> None:
        model = self.models[which]
        changed = model.retain != retain
        model.retain = retain
        if changed:
            model.drop_surplus()
        self.world.run(self.world.repositories.ensure(model.repository))

    @rule(which=WHICH, one=CHOICE, other=CHOICE)
    def compare(self, which: int, one: int, other: int) -> None:
        model = self.models[which]
        newer, older = model.pick(one), model.pick(other)
        repositories = self.world.repositories
        added = repositories.added_ids(model.name, newer, older)
        removed = repositories.removed_ids(model.name, newer, older)
        assert self._indexes(added) == model.versions[newer] - model.versions[older]
        assert self._indexes(removed) == model.versions[older] - model.versions[newer]

    @invariant()
    def versions_are_numbered_counted_and_protected_as_they_should(self) -> None:
        for model in self.models:
            before: Units = frozenset()
            expected = []
            for number in sorted(model.versions):
                units = model.versions[number]
                counts = (len(units - before), len(before - units), len(units))
                root = root_of(with_units(EMPTY_STATE, self._ids(units))).hex()
                expected.append((number, *counts, number in model.protected, root))
                before = units
            found = self.world.run(self.world.repositories.versions(model.name))
            assert [
                (v.number, v.added, v.removed, v.present, v.protected, v.root) for v in found
            ] == expected

    def teardown(self) -> None:
        for model in self.models:
            for number, units in model.versions.items():
                held = self.world.repositories.content_ids(model.name, number)
                assert self._indexes(held) == units

    def _make(
        self,
        model: Model,
        base: tuple[str, int] | None,
        start: Units,
        changes: list[Change],
        *,
        fails: bool,
    ) -> None:
        async def make() -> NewVersion:
            async with self.world.repositories.new_version(model.repository, base=base) as version:
                assert version.number == model.next
                for change in changes:
                    await self._apply(version, change)
                if any(kind == "mirror" for kind, _ in changes):
                    await version.remove_unseen()
                if fails:
                    raise ZeroDivisionError
            return version

        if fails:
            with pytest.raises(ZeroDivisionError):
                self.world.run(make())
        else:
            version = self.world.run(make())
            assert (version.completed is not None) == model.complete(after(start, changes))

    async def _apply(self, version: NewVersion, change: Change) -> None:
        kind, chosen = change
        ids = self._ids(chosen)
        match kind:
            case "add":
                await version.add_content(ids)
            case "remove":
                await version.remove_content(ids)
            case "set":
                await version.set_content(ids)
            case _:
                await version.associate(ids, seen=True)

    def _ids(self, indexes: Units) -> list[bytes]:
        return [self.world.units[index] for index in indexes]

    def _indexes(self, batches: AsyncIterator[list[bytes]]) -> Units:
        async def collect() -> list[bytes]:
            return [unit async for batch in batches for unit in batch]

        found = self.world.run(collect())
        assert found == sorted(set(found))
        return frozenset(map(self.world.units.index, found))


@pytest.fixture
def world(conninfo: str) -> Iterator[World]:
    world = World(conninfo)
    yield world
    world.close()


@pytest.mark.timeout(60 * SOAK)
def test_versions_are_what_sets_in_memory_are(world: World) -> None:
    machine = type("LivesInThisWorld", (Lives,), {"world": world})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=7 * SOAK,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
