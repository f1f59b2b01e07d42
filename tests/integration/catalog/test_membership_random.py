"""Versions made by sequences of changes that nobody thought of hold what sets in memory hold."""

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowsync.catalog.database import Database
from flowsync.catalog.new_version import NewVersion
from flowsync.catalog.repositories import Repositories
from flowsync.model.repository import Repository
from tests.integration.catalog.units import Shelf

Change = tuple[str, frozenset[int]]

UNITS = st.frozensets(st.integers(0, 7))
CHANGES = st.tuples(st.sampled_from(["add", "remove", "set", "mirror"]), UNITS)
HISTORIES = st.lists(st.lists(CHANGES, max_size=4), min_size=1, max_size=5)


async def apply(version: NewVersion, change: Change, units: list[bytes]) -> None:
    kind, chosen = change
    ids = [units[index] for index in chosen]
    match kind:
        case "add":
            await version.add_content(ids)
        case "remove":
            await version.remove_content(ids)
        case "set":
            await version.set_content(ids)
        case _:
            await version.associate(ids, seen=True)


def expected(start: frozenset[int], changes: list[Change]) -> frozenset[int]:
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


async def check(database: Database, history: list[list[Change]]) -> None:
    repositories = Repositories(database)
    units = await Shelf(database).packages(*map(str, range(8)))
    async with database.connection() as connection:
        await connection.execute("TRUNCATE repository CASCADE")
    sets = [frozenset[int]()]
    for changes in history:
        after = expected(sets[-1], changes)
        async with repositories.new_version(Repository(name="r")) as version:
            for change in changes:
                await apply(version, change, units)
            if any(kind == "mirror" for kind, _ in changes):
                await version.remove_unseen()
        assert (version.completed is not None) == (after != sets[-1])
        if version.completed is not None:
            counts = (version.completed.added, version.completed.removed, version.completed.present)
            assert counts == (len(after - sets[-1]), len(sets[-1] - after), len(after))
            sets.append(after)
    for number, held in enumerate(sets):
        found = [ids async for ids in repositories.content_ids("r", number)]
        assert [unit for ids in found for unit in ids] == sorted(units[index] for index in held)


async def run(conninfo: str, history: list[list[Change]]) -> None:
    database = Database(conninfo)
    await database.open()
    try:
        await check(database, history)
    finally:
        await database.close()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=HISTORIES)
def test_every_version_holds_what_its_changes_left(
    conninfo: str, history: list[list[Change]]
) -> None:
    """Facts 50, 53, 79."""
    uvloop.run(run(conninfo, history))
