"""Why a path is there, or is not, where no sync made the versions: what a run would tell is
missing, and the rest is told.
"""

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.queries.version_units import explain
from flowsync.catalog.versions.repositories import Repositories
from flowsync.model.reports import Explanation, Presence, Removal, SourceNote
from flowsync.model.repository import Repository
from tests.integration.catalog.units import Package, Shelf, staged

R = Repository(name="r")


async def test_unit_of_a_version_without_a_run_is_explained_by_what_it_is(
    database: Database, repositories: Repositories, shelf: Shelf
) -> None:
    body = staged(b"a body")
    unit = await shelf.put(Package(name="a"), {"pool/a": b"a body"})
    await shelf.declare(unit, "pool/a", body)
    async with repositories.new_version(R) as version:
        await version.add_content([unit])

    found = await explain(database, "r", "pool/a")

    presence = Presence(
        type="test.package",
        added=1,
        run=None,
        line=None,
        read=(),
        sha256=body.sha256,
        blake3=body.blake3,
        size=len(b"a body"),
        stored=True,
        origins=(
            SourceNote(remote="upstream", url="http://upstream.example/pool/a", policy="immediate"),
        ),
    )
    assert found == _explanation(version=1, present=(presence,))


async def test_removal_in_a_version_without_a_run_names_the_version(
    database: Database, repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages("a", "b")
    async with repositories.new_version(R) as version:
        await version.add_content(units)
    async with repositories.new_version(R) as version:
        await version.remove_content(units[:1])

    found = await explain(database, "r", "pool/a")

    removal = Removal(version=2, run=None, read=(), rolled_back_to=None)
    assert found == _explanation(version=2, removal=removal)


async def test_removal_by_rolling_back_names_the_version_that_it_went_back_to(
    database: Database, repositories: Repositories, shelf: Shelf
) -> None:
    units = await shelf.packages("a", "b")
    for unit in units:
        async with repositories.new_version(R) as version:
            await version.add_content([unit])
    await repositories.roll_back("r", 1)

    found = await explain(database, "r", "pool/b")

    removal = Removal(version=3, run=None, read=(), rolled_back_to=1)
    assert found == _explanation(version=3, path="pool/b", removal=removal)


async def test_info_of_the_makers_own_is_not_taken_for_ours(
    database: Database, repositories: Repositories, shelf: Shelf
) -> None:
    """Of a version with such a text, "invalid input syntax for type integer" was all that could be
    learned.
    """
    units = await shelf.packages("a", "b")
    async with repositories.new_version(R) as version:
        await version.add_content(units)
        version.info["run"] = "of tonight"
    async with repositories.new_version(R) as version:
        await version.remove_content(units[:1])
        version.info |= {"run": 1.5, "rolled_back_to": "the good one"}

    gone = await explain(database, "r", "pool/a")
    there = await explain(database, "r", "pool/b")

    removal = Removal(version=2, run=None, read=(), rolled_back_to=None)
    assert gone == _explanation(version=2, removal=removal)
    assert [presence.run for presence in there.present] == [None]


async def test_path_that_nobody_ever_heard_of_has_no_explanation(
    database: Database, repositories: Repositories
) -> None:
    async with repositories.new_version(R):
        pass

    assert await explain(database, "r", "pool/a") == _explanation(version=0)


def _explanation(
    *,
    version: int,
    path: str = "pool/a",
    present: tuple[Presence, ...] = (),
    removal: Removal | None = None,
) -> Explanation:
    return Explanation(
        repository="r", version=version, path=path, present=present, removal=removal, failure=None
    )
