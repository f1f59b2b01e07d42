"""The dropping of what belongs to an alternate source, beside whoever makes a version of it."""

import asyncio

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.records.contents import Contents, Link
from flowsync.catalog.records.remotes import AlternateSources, RecordedSource, Remotes
from flowsync.catalog.versions.repositories import Repositories
from flowsync.errors import RepositoryNotFoundError
from flowsync.model.artifact import Artifact
from flowsync.model.content import key_id
from flowsync.model.remote import Remote
from flowsync.model.repository import Repository
from tests.integration.catalog.rows import Leaf, by_id
from tests.integration.catalog.waiting import lock_waiters

UNIT = key_id(Leaf("unit"))
HIDDEN = Repository(name="acs:near:", retain_versions=1)


@pytest.fixture
async def remote(database: Database) -> int:
    """Record an alternate source "near" that has a unit; return the id of its remote."""
    async with Contents(database).transaction() as transaction:
        await transaction.insert(by_id(Leaf("unit")))
        await transaction.link([Link(content_id=UNIT, relative_path="p")])
    remotes = Remotes(database)
    ids = await remotes.ids([Remote(name="acs:file:near", url="http://near/")])
    number = ids["acs:file:near"]
    await remotes.add_alternate_source("near", number)
    source = RecordedSource(
        content_id=UNIT,
        relative_path="p",
        remote_id=number,
        urls=["http://near/p"],
        artifact=Artifact(size=1),
    )
    assert await remotes.save_sources([source]) == []
    return number


async def offers(database: Database) -> int:
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM remote_artifact")
        ((count,),) = await cursor.fetchall()
        return int(count)


async def test_sources_of_a_version_in_the_making_are_not_taken_for_unlisted(
    database: Database, repositories: Repositories, remote: int
) -> None:
    async with repositories.new_version(HIDDEN) as version:
        await version.add_content([UNIT])
        forgetting = asyncio.create_task(
            AlternateSources(database).forget_unlisted("acs:file:near", "acs:near:", ["acs:near:"])
        )
        await lock_waiters(database, 1)

    assert await forgetting == 0
    assert await offers(database) == 1


async def test_what_no_latest_version_holds_is_unlisted(
    database: Database, repositories: Repositories, remote: int
) -> None:
    async with repositories.new_version(HIDDEN) as version:
        await version.add_content([UNIT])
    async with repositories.new_version(HIDDEN) as version:
        await version.remove_content([UNIT])

    gone = await AlternateSources(database).forget_unlisted(
        "acs:file:near", "acs:near:", ["acs:near:"]
    )

    assert (gone, await offers(database)) == (1, 0)


async def test_removal_waits_for_a_version_in_the_making_and_takes_it_along(
    database: Database, repositories: Repositories, remote: int
) -> None:
    async with repositories.new_version(HIDDEN) as version:
        await version.add_content([UNIT])
        removing = asyncio.create_task(
            AlternateSources(database).remove("near", "acs:file:near", "acs:near:")
        )
        await lock_waiters(database, 1)
    await removing

    assert await Remotes(database).alternate_sources() == []
    assert await offers(database) == 0
    with pytest.raises(RepositoryNotFoundError):
        await repositories.version("acs:near:")


async def test_a_remote_that_another_source_names_stays(database: Database, remote: int) -> None:
    await Remotes(database).add_alternate_source("other", remote)

    await AlternateSources(database).remove("near", "acs:file:near", "acs:near:")

    assert [source.name for source in await Remotes(database).alternate_sources()] == ["other"]
    assert await offers(database) == 1
