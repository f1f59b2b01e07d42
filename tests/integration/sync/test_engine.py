"""The engine: opened explicitly, shared by many syncs, and closed without a trace, also when
opening fails half-way.
"""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from flowsync import (
    Backoff,
    DeclarationError,
    DeclarativeVersion,
    Engine,
    FlowsyncError,
    Remote,
    Repository,
)
from flowsync.embedded_postgres.server import EmbeddedPostgres
from flowsync.errors import CatalogUnavailableError, StoreUnwritableError
from flowsync.sources.file import FileFirstStage
from tests.integration.embedded_postgres.processes import servers_of
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.system.records import wait_for_file
from tests.upstream.behaviours import Status
from tests.upstream.server import Upstream


def staged(home: Path) -> list[str]:
    return os.listdir(home / "store" / "staging")


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


async def test_a_closed_engine_leaves_neither_files_nor_processes(
    tmp_path: Path, conninfo: str
) -> None:
    before = children()
    engine = Engine(tmp_path / "home", database_url=conninfo)

    async with engine:
        while_open = staged(engine.home)
    await engine.close()

    assert while_open != []
    assert not engine.is_open
    assert staged(engine.home) == []
    assert children() <= before


async def test_an_engine_can_be_opened_again_after_it_was_closed(
    tmp_path: Path, conninfo: str, publish: Publish
) -> None:
    engine = Engine(tmp_path / "home", database_url=conninfo)

    for _ in range(2):
        async with engine:
            assert await engine.catalog.repositories.names() == []


async def test_an_open_engine_cannot_be_opened_again(engine: Engine) -> None:
    with pytest.raises(FlowsyncError, match=f"the engine at {engine.home} is open already"):
        await engine.open()

    assert engine.is_open
    assert await engine.catalog.repositories.names() == []


async def test_what_was_opened_is_closed_when_the_database_does_not_answer(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "home", database_url="postgresql://nobody@127.0.0.1:1/none")

    with pytest.raises(CatalogUnavailableError, match=r"database 'none' at 127\.0\.0\.1:1"):
        await engine.open()

    assert not engine.is_open
    assert staged(engine.home) == []


async def test_what_was_opened_is_closed_when_opening_is_cancelled(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        engine = Engine(tmp_path / "home", database_url=f"postgresql://a@127.0.0.1:{port}/none")
        async with asyncio.TaskGroup() as group:
            opening = group.create_task(engine.open())
            connection, _ = await asyncio.to_thread(silent.accept)
            opening.cancel()
        connection.close()

    assert opening.cancelled()
    assert not engine.is_open
    assert staged(engine.home) == []


async def test_an_embedded_server_is_stopped_when_its_start_is_cancelled(tmp_path: Path) -> None:
    """A thread starts the server, and a thread cannot be cancelled: whoever gives up waits for it
    and stops what it started.
    """
    engine = Engine(tmp_path / "home")
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(engine.open())
        await asyncio.to_thread(wait_for_file, engine.home / "database" / "start.lock")
        opening.cancel()

    assert opening.cancelled()
    assert servers_of(tmp_path) == []


async def test_engines_of_one_home_share_the_embedded_server_and_the_last_stops_it(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    async with Engine(home) as first:
        async with Engine(home) as second:
            assert await second.catalog.repositories.names() == []
        assert EmbeddedPostgres(home / "database").is_running()
        assert await first.catalog.repositories.names() == []

    assert servers_of(tmp_path) == []


async def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreUnwritableError, match="file/home"):
        await Engine(tmp_path / "file" / "home").open()


def test_only_from_environment_reads_the_environment() -> None:
    environ = {"FLOWSYNC_HOME": "/srv/flowsync", "FLOWSYNC_DATABASE_URL": "postgresql://db/"}

    found = Engine.from_environment(environ)
    bare = Engine.from_environment({"XDG_DATA_HOME": "/data", "FLOWSYNC_DATABASE_URL": ""})

    assert (found.home, found.database_url) == (Path("/srv/flowsync"), "postgresql://db/")
    assert (bare.home, bare.database_url) == (Path("/data/flowsync"), None)


async def test_a_remote_belongs_to_one_open_engine(tmp_path: Path, conninfo: str) -> None:
    remote = Remote(name="files", url="http://localhost/")
    first = Engine(tmp_path / "first", database_url=conninfo)
    second = Engine(tmp_path / "second", database_url=conninfo)

    async with second:
        async with first:
            first.bind(remote)
            with pytest.raises(DeclarationError, match="in use by another open engine"):
                second.bind(remote)
        assert second.bind(remote) is remote


async def test_metadata_of_a_sync_is_gone_with_the_sync(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """A daemon keeps one engine open for months."""
    url = publish({"a": b"1"})
    before = sorted((engine.home / "store" / "staging").rglob("*"))

    await file_sync(url).acreate()

    assert await paths(engine) == {"a": True}
    assert sorted((engine.home / "store" / "staging").rglob("*")) == before


@pytest.mark.parametrize("workers", [0, 1])
async def test_waits_between_tries_are_those_of_the_engine(
    tmp_path: Path, conninfo: str, publish: Publish, upstream: Upstream, workers: int
) -> None:
    """Upstream asks for an hour that nobody is ready to wait, neither for the manifest nor for a
    file.
    """
    url = publish({"a": b"1"})
    for path in ("/PULP_MANIFEST", "/a"):
        upstream.script(path, Status(503, retry_after="3600"))
    stage = FileFirstStage(Remote(name="files", url=url))

    async with Engine(
        tmp_path / "home",
        database_url=conninfo,
        workers=workers,
        backoff=Backoff(base=0, patience=0),
    ) as engine:
        version = await DeclarativeVersion(stage, Repository(name="files"), engine=engine).acreate()

    assert version is not None
    assert upstream.count("/a") == 2
