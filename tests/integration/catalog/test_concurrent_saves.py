"""Syncs that save the same things at the same time: nobody fails, nobody deadlocks, nothing is
there twice.

Each test runs eight tasks on connections of their own, which save overlapping batches, each task in
its own random order. The seeds are fixed; what the server makes of them is not.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from flowsync.catalog.postgres.database import Database
from flowsync.catalog.records.contents import Artifacts, Contents, Link
from flowsync.catalog.records.remotes import RecordedSource, Remotes
from flowsync.model.artifact import Artifact, StagedArtifact
from flowsync.model.content import key_id
from flowsync.model.remote import Remote
from tests.integration.catalog.rows import Leaf, by_id, digest, staged

TASKS = 8
BATCHES = 6
BATCH = 60
ITEMS = 150

AGE_SOME = """
    UPDATE artifact SET touched_at = '2001-01-01'
    WHERE id IN (SELECT id FROM artifact WHERE id % 7 = 0 FOR UPDATE SKIP LOCKED)
"""

T = TypeVar("T")


@pytest.fixture
def artifacts(database: Database) -> Artifacts:
    return Artifacts(database, lambda name: name)


@pytest.fixture
def contents(database: Database) -> Contents:
    return Contents(database)


async def at_once(
    pool: list[T], save: Callable[[list[T], random.Random], Awaitable[object]]
) -> None:
    """Let eight tasks save random batches of `pool` at once, batch by batch."""

    async def run(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(BATCHES):
            await save(chance.sample(pool, BATCH), chance)

    async with asyncio.TaskGroup() as group:
        for seed in range(TASKS):
            group.create_task(run(seed))


async def count(database: Database, query: str) -> tuple[Any, ...] | None:
    async with database.connection() as connection:
        return await (await connection.execute(query.encode())).fetchone()


async def test_artifacts(artifacts: Artifacts, database: Database) -> None:
    pool = [staged(b"%d" % number) for number in range(ITEMS)]
    ids: dict[str | None, set[int]] = {artifact.sha256: set() for artifact in pool}

    async def save(batch: list[StagedArtifact], chance: random.Random) -> None:
        for declared, stored in zip(batch, await artifacts.save(batch), strict=True):
            assert stored.sha256 == declared.sha256
            ids[declared.sha256].add(stored.id)

    await at_once(pool, save)

    assert {len(known) for known in ids.values()} == {1}
    assert await count(database, "SELECT count(*), count(DISTINCT sha256) FROM artifact") == (
        150,
        150,
    )


async def test_artifacts_that_gain_digests(artifacts: Artifacts, database: Database) -> None:
    algorithms = ("md5", "sha1", "sha224", "sha384", "sha512")

    async def save(batch: list[int], chance: random.Random) -> None:
        await artifacts.save([staged(b"%d" % n, chance.choice(algorithms)) for n in batch])

    await at_once(list(range(ITEMS)), save)

    expected = staged(b"7", *algorithms).digests()
    for algorithm in algorithms:
        await artifacts.save([staged(b"7", algorithm)])
    [found] = await artifacts.find([Artifact(sha256=digest("sha256", b"7"))], frozenset({"sha256"}))
    assert found is not None
    assert found.digests() == expected
    assert await count(database, "SELECT count(*) FROM artifact") == (150,)


async def test_artifacts_that_are_looked_up_meanwhile(
    artifacts: Artifacts, database: Database
) -> None:
    pool = [staged(b"%d" % number) for number in range(ITEMS)]
    await artifacts.save(pool)

    async def save(batch: list[StagedArtifact], chance: random.Random) -> None:
        async with database.connection() as connection:
            await connection.execute(AGE_SOME)
        if chance.random() < 0.5:
            await artifacts.save(batch)
        else:
            assert None not in await artifacts.find(batch, frozenset({"sha256"}))

    await at_once(pool, save)

    assert await count(database, "SELECT count(*) FROM artifact") == (150,)


async def test_contents_with_links_that_are_filled(
    artifacts: Artifacts, contents: Contents, database: Database
) -> None:
    stored = await artifacts.save([staged(b"%d" % number) for number in range(5)])
    inserted: list[bytes] = []

    async def save(batch: list[Leaf], chance: random.Random) -> None:
        units = by_id(*batch)
        known = await contents.find(units)
        async with contents.transaction() as transaction:
            new = await transaction.insert(
                {key: unit for key, unit in units.items() if key not in known}
            )
            assert new.isdisjoint(known)
            await transaction.link([Link(content_id=key, relative_path="p") for key in new])
            await transaction.fill(
                [
                    Link(content_id=key, relative_path="p", artifact_id=chance.choice(stored).id)
                    for key in units
                ]
            )
            inserted.extend(new)

    await at_once([Leaf(f"{number}") for number in range(ITEMS)], save)

    assert len(inserted) == len(set(inserted)) == 150
    assert await count(
        database, "SELECT count(*), count(artifact_id) FROM content_artifact"
    ) == (150, 150)  # fmt: skip


async def test_sources(contents: Contents, database: Database) -> None:
    remotes = Remotes(database)
    ids = await remotes.ids([Remote(name=name, url="http://r/") for name in "ab"])
    units = [Leaf(f"{number}") for number in range(ITEMS)]
    async with contents.transaction() as transaction:
        await transaction.insert(by_id(*units))
        await transaction.link([Link(content_id=key_id(u), relative_path="p") for u in units])

    async def save(batch: list[Leaf], chance: random.Random) -> None:
        sources = [
            RecordedSource(
                content_id=key_id(unit),
                relative_path="p",
                remote_id=chance.choice(list(ids.values())),
                urls=[f"http://{chance.randrange(3)}/{unit.name}"],
                artifact=Artifact(size=chance.randrange(3)),
            )
            for unit in batch
        ]
        assert await remotes.save_sources(sources) == []

    await at_once(units, save)

    assert await count(
        database, "SELECT count(DISTINCT content_id), count(DISTINCT remote_id) FROM "
            "remote_artifact"
    ) == (150, 2)  # fmt: skip


async def test_remotes(database: Database) -> None:
    remotes = Remotes(database)
    ids: dict[str, set[int]] = {}

    async def save(batch: list[str], chance: random.Random) -> None:
        given = [Remote(name=name, url=f"http://{chance.randrange(2)}/") for name in batch]
        for name, number in (await remotes.ids(given)).items():
            ids.setdefault(name, set()).add(number)

    await at_once([f"{number}" for number in range(ITEMS)], save)

    assert {len(known) for known in ids.values()} == {1}
    assert await count(database, "SELECT count(*) FROM remote") == (len(ids),)
