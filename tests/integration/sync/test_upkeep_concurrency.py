"""Clean-up, verification, reclaiming and syncs at the same time, in two engines on one database and
one store: nothing is lost, nobody fails.

Repositories are synced from one pool of files, round by round, and every other one is forgotten
after its round, with all its versions, so that its units, artifacts and blobs become orphans that
the next round's syncs are about to use. Half of them were then not touched for years. Clean-up has
no protection time. The seeds are fixed; what the server and the kernel make of them is not.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import blake3
import pytest

from flowsync import DeclarativeVersion, Engine, Remote, Repository, prune, reclaim, verify
from flowsync.sources.file import FileFirstStage
from tests.integration.sync.conftest import paths
from tests.system.publishing import numbered, publish
from tests.upstream.server import Upstream

ROUNDS = 6
FILES = 120


@pytest.fixture
async def engines(conninfo: str, tmp_path: Path) -> AsyncIterator[tuple[Engine, Engine]]:
    home = tmp_path / "home"
    async with (
        Engine(home, database_url=conninfo) as one,
        Engine(home, database_url=conninfo) as two,
    ):
        yield one, two


@pytest.fixture
def urls(upstream: Upstream) -> list[str]:
    """Publish manifests of random halves of one pool."""
    chance = random.Random(5)
    pool = numbered(FILES)
    return [
        publish(upstream, dict(chance.sample(list(pool.items()), FILES // 2)), f"/{number}")
        for number in range(4)
    ]


async def age(engine: Engine) -> None:
    """Let some of what is known not have been touched lately. Only while no sync runs: time does
    not go back for it.
    """
    async with engine.catalog.database.connection() as connection:
        for table in ("content", "artifact"):
            await connection.execute(
                f"UPDATE {table} SET touched_at = '2001-01-01' WHERE ctid IN "  # noqa: S608
                f"(SELECT ctid FROM {table} WHERE random() < 0.5 FOR UPDATE SKIP LOCKED)".encode()
            )


async def forget(engine: Engine, name: str) -> None:
    async with engine.catalog.database.connection() as connection:
        await connection.execute("DELETE FROM repository WHERE name = %s", (name,))


async def sync(engine: Engine, name: str, url: str) -> None:
    remote = Remote(name=name, url=url, max_retries=0)
    await DeclarativeVersion(
        FileFirstStage(remote),
        Repository(name=name),
        mirror=True,
        engine=engine,
        force=True,
        max_removal=1.0,
    ).acreate()
    assert set((await paths(engine, name)).values()) == {True}


@pytest.mark.timeout(120)
async def test_nothing_is_lost_and_nobody_fails(
    engines: tuple[Engine, Engine], urls: list[str]
) -> None:
    one, two = engines
    ended = asyncio.Event()
    work = {"removed": 0, "checked": 0, "wrong": 0}

    async def prune_on(engine: Engine) -> None:
        while not ended.is_set():
            report = await prune(engine, older_than=timedelta(0), apply=True)
            work["removed"] += report.contents + report.artifacts

    async def verify_on(engine: Engine) -> None:
        while not ended.is_set():
            report = await verify(engine)
            work["checked"] += report.checked
            work["wrong"] += report.missing + report.damaged

    async def sync_rounds() -> None:
        chance = random.Random(7)
        names = [
            (engine, f"{number}-{of}") for number in range(3) for of, engine in enumerate(engines)
        ]
        for _ in range(ROUNDS):
            await age(one)
            async with asyncio.TaskGroup() as syncs:
                for engine, name in names:
                    syncs.create_task(sync(engine, name, chance.choice(urls)))
            for engine, name in chance.sample(names, 3):
                await forget(engine, name)
        ended.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(sync_rounds())
        group.create_task(prune_on(one))
        group.create_task(prune_on(two))
        group.create_task(verify_on(two))

    assert work["removed"] > 0
    assert work["checked"] > 0
    assert work["wrong"] == 0
    await expect_whole(one)


async def test_reclaiming_beside_syncs_takes_from_nobody(
    engines: tuple[Engine, Engine], urls: list[str]
) -> None:
    """Each round, one repository gives up its bytes while another one, in the other engine, is
    synced to the same files.
    """
    one, two = engines
    for _ in range(ROUNDS):
        await sync(one, "mine", urls[0])
        await age(one)

        await asyncio.gather(reclaim(one, "mine", apply=True), sync(two, "theirs", urls[0]))

        await expect_whole(one)
        await forget(two, "theirs")


async def expect_whole(engine: Engine) -> None:
    """Fail unless every recorded artifact has its blob, with the right bytes."""
    async with engine.catalog.database.connection() as connection:
        rows = await (await connection.execute("SELECT blake3 FROM artifact")).fetchall()
    assert rows
    for (name,) in rows:
        body = Path(str(engine.store.local(name.hex()))).read_bytes()
        assert blake3.blake3(body).digest() == name
