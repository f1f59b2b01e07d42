"""The rules of paths, on sets of paths that nobody thought of, against a look at all pairs."""

from itertools import combinations

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import RepositoryVersionError
from flowsync.model.repository import Repository
from tests.integration.catalog.units import Package, Shelf

Unit = tuple[str, bytes]

PATHS = st.lists(st.sampled_from(["a", "b", "a-", "a0"]), min_size=1, max_size=3).map("/".join)
UNITS = st.tuples(PATHS, st.sampled_from([b"one", b"two"]))
HISTORIES = st.lists(st.frozensets(UNITS, min_size=1, max_size=5), min_size=1, max_size=5)


def can_coexist(one: Unit, other: Unit) -> bool:
    (path, body), (other_path, other_body) = one, other
    nested = path.startswith(f"{other_path}/") or other_path.startswith(f"{path}/")
    return not nested and (path != other_path or body == other_body)


async def check(database: Database, history: list[frozenset[Unit]]) -> None:
    repositories, shelf = Repositories(database), Shelf(database)
    async with database.connection() as connection:
        await connection.execute("TRUNCATE repository, repository_content CASCADE")
    held = frozenset[Unit]()
    for added in history:
        # The same bytes at the same path come as two units.
        units = [
            await shelf.put(Package(name=f"{path} {body!r} {copy}"), {path: body})
            for path, body in added
            for copy in range(2)
        ]
        fine = all(can_coexist(*pair) for pair in combinations(held | added, 2))
        try:
            async with repositories.new_version(Repository(name="r")) as version:
                await version.add_content(units)
        except RepositoryVersionError:
            assert not fine
        else:
            assert fine
            held |= added
        assert (await repositories.version("r")).present == 2 * len(held)


async def run(conninfo: str, history: list[frozenset[Unit]]) -> None:
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
def test_version_is_refused_exactly_when_two_of_its_paths_cannot_coexist(
    conninfo: str, history: list[frozenset[Unit]]
) -> None:
    uvloop.run(run(conninfo, history))
