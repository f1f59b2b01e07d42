"""A database whose answers get lost: every statement of the pool is done, and its first answer
never comes.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowsync import DeclarativeVersion, Engine, Remote, Repository, prune, verify
from flowsync.sources.file import FileFirstStage
from tests.integration.catalog.cutting import CuttingProxy
from tests.integration.sync.conftest import Publish, paths
from tests.system.records import expect_whole, recorded_artifacts, versions
from tests.upstream.behaviours import Status
from tests.upstream.server import Upstream

FILES = {f"{number}.txt": f"file {number}".encode() for number in range(40)}


@pytest.fixture
def proxy(conninfo: str) -> CuttingProxy:
    return CuttingProxy(conninfo)


@pytest.fixture
async def far_engine(proxy: CuttingProxy, tmp_path: Path) -> AsyncIterator[Engine]:
    with proxy:
        async with Engine(tmp_path / "home", database_url=proxy.conninfo) as engine:
            yield engine


def sync(engine: Engine, url: str) -> DeclarativeVersion:
    stage = FileFirstStage(Remote(url=url, name="files", max_retries=0))
    return DeclarativeVersion(
        stage, Repository(name="files"), engine=engine, mirror=True, on_error="skip"
    )


async def test_syncs_end_as_if_no_answer_had_been_lost(
    far_engine: Engine, proxy: CuttingProxy, upstream: Upstream, publish: Publish, conninfo: str
) -> None:
    """A dropped connection ends no sync where the statement may be done twice."""
    upstream.always("/7.txt", Status(404))
    first = await sync(far_engine, publish(FILES)).acreate()
    changed = {**FILES, "1.txt": b"another", "more.txt": b"one more"}
    second = await sync(far_engine, publish(changed)).acreate()

    assert first is not None
    assert second is not None
    assert (first.added, second.added, second.removed) == (39, 2, 1)
    assert await paths(far_engine) == dict.fromkeys(sorted(changed.keys() - {"7.txt"}), True)
    assert versions(conninfo, "files") == [(1, True), (2, True)]
    assert recorded_artifacts(conninfo) == 41
    expect_whole(conninfo, far_engine.home)
    (run, _) = await far_engine.catalog.runs.newest()
    assert (run.state, run.left_out) == ("completed", 1)
    assert "COMMIT" in proxy.lost
    for done in ("INSERT INTO artifact", "INSERT INTO remote_artifact", "INSERT INTO left_out"):
        assert any(done in statement for statement in proxy.lost)


async def test_upkeep_ends_as_if_no_answer_had_been_lost(
    far_engine: Engine, proxy: CuttingProxy, publish: Publish
) -> None:
    await sync(far_engine, publish(FILES)).acreate()
    before = len(proxy.lost)

    checked = await verify(far_engine)
    found = await prune(far_engine)
    await far_engine.catalog.repositories.protect_version("files", 1)

    assert (checked.checked, checked.remaining, found.contents) == (40, 0, 0)
    assert (await far_engine.catalog.repositories.version("files")).protected
    assert len(proxy.lost) - before >= 6
