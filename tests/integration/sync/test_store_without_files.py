"""An engine whose blobs are no files of this machine: everything works that works with a folder."""

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import blake3
import pytest

from flowsync import (
    Artifact,
    DeclarationError,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Repository,
    Stage,
    StoredArtifact,
    export_version,
    prune,
    reclaim,
    verify,
)
from flowsync.errors import BlobMissingError, ExportError, StoreMismatchError
from flowsync.store import StoreUsage
from flowsync.testing.bodies import in_memory, read
from flowsync.testing.memory_store import MemoryBlobStore
from tests.integration.stages.conftest import declare, declare_artifact, remote
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.behaviours import Status
from tests.upstream.server import Upstream

NOW = timedelta(0)
LARGE = bytes(range(256)) * (3 << 12)
"""3 MiB: three chunks."""

FILES = {"a.txt": b"one", "b.txt": b"two", "sub/c.txt": b"one", "large": LARGE}


def name_of(body: bytes) -> str:
    return blake3.blake3(body).hexdigest()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MemoryBlobStore]:
    async with MemoryBlobStore(tmp_path / "staging") as store:
        yield store


@pytest.fixture
async def engine(conninfo: str, tmp_path: Path, store: MemoryBlobStore) -> AsyncIterator[Engine]:
    async with Engine(tmp_path / "home", database_url=conninfo, store=store) as engine:
        yield engine


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".flowsync")
    }


def staged_files(tmp_path: Path) -> list[Path]:
    """Return what lies in the staging folders, but the locks of those that are held."""
    found = (tmp_path / "staging").rglob("*")
    return [path for path in found if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("workers", [0, 1])
async def test_sync_stores_every_body_and_no_file(
    conninfo: str,
    tmp_path: Path,
    store: MemoryBlobStore,
    publish: Publish,
    file_sync: Sync,
    workers: int,
) -> None:
    home = tmp_path / "home"
    async with Engine(home, database_url=conninfo, store=store, workers=workers) as engine:
        version = await file_sync(publish(FILES), engine=engine).acreate()
        again = await file_sync(publish(FILES), engine=engine).acreate()

        assert version is not None
        assert again is None
        assert await paths(engine) == dict.fromkeys(FILES, True)
    assert await store.usage() == StoreUsage(blobs=3, bytes=6 + len(LARGE))
    for body in FILES.values():
        assert await read(store, name_of(body)) == body
    assert not (home / "store").exists()
    assert staged_files(tmp_path) == []


async def test_export_is_made_of_copies_that_were_compared(
    engine: Engine, store: MemoryBlobStore, publish: Publish, file_sync: Sync, tmp_path: Path
) -> None:
    await file_sync(publish(FILES)).acreate()

    _, report = await export_version(engine, "files", tmp_path / "out")
    store.damage(name_of(b"two"), b"owt")
    with pytest.raises(ExportError, match=r"'b\.txt'.* is damaged"):
        await export_version(engine, "files", tmp_path / "out")
    store.lose(name_of(b"two"))
    with pytest.raises(BlobMissingError, match=r"cannot export 'b\.txt'"):
        await export_version(engine, "files", tmp_path / "out")

    assert (report.files, report.linked, report.copied) == (4, 0, 4)
    assert report.bytes == sum(map(len, FILES.values()))
    assert tree(tmp_path / "out") == FILES


@pytest.mark.parametrize("limit", [None, 1e9])
async def test_verification_finds_and_repairs_what_is_lost_and_what_is_damaged(
    engine: Engine,
    store: MemoryBlobStore,
    publish: Publish,
    file_sync: Sync,
    limit: float | None,
) -> None:
    await file_sync(publish(FILES)).acreate()
    clean = await verify(engine, limit=limit)
    store.lose(name_of(b"one"))
    store.damage(name_of(b"two"), b"2")
    flipped = bytes([LARGE[0] ^ 1]) + LARGE[1:]
    store.damage(name_of(LARGE), flipped)

    quick = await verify(engine, quick=True)
    found = await verify(engine, limit=limit)
    repaired = await verify(engine, repair=True, limit=limit)
    after = await verify(engine, limit=limit)

    assert (clean.checked, clean.missing, clean.damaged) == (3, 0, 0)
    assert (quick.missing, quick.damaged) == (1, 1)
    assert (found.missing, found.damaged) == (2, 1)
    assert (repaired.missing, repaired.repaired, repaired.remaining) == (3, 3, 0)
    assert (after.missing, after.damaged) == (0, 0)
    assert await read(store, name_of(LARGE)) == LARGE


async def test_what_nobody_needs_goes(
    engine: Engine, store: MemoryBlobStore, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES)).acreate()
    await store.persist([in_memory(b"of nobody")])
    async with engine.catalog.database.connection() as connection:
        await connection.execute("DELETE FROM repository")

    planned = await prune(engine, older_than=NOW)
    pruned = await prune(engine, older_than=NOW, apply=True)

    assert planned.contents == pruned.contents == 4
    assert (pruned.artifacts, pruned.blobs, pruned.refused) == (3, 1, 0)
    assert await store.usage() == StoreUsage(0, 0)


async def test_reclaimed_bytes_go_and_are_fetched_again(
    engine: Engine, store: MemoryBlobStore, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES), mirror=True).acreate()
    url = publish({"a.txt": b"newer"})
    await file_sync(url, mirror=True).acreate()

    report = await reclaim(engine, "files", keep_latest=1, apply=True)

    assert report.artifacts == 3
    assert await store.usage() == StoreUsage(1, 5)
    assert await paths(engine, number=1) == dict.fromkeys(FILES, False)
    await file_sync(publish(FILES), mirror=True).acreate()
    assert await paths(engine) == dict.fromkeys(FILES, True)


class Indexes(Stage):
    """Awaits two indexes, one after the other, and puts what they list."""

    def __init__(self, urls: list[str]) -> None:
        self.remote, self.urls = remote(), urls
        self.read: list[bytes] = []

    def indexes(self) -> list[DeclarativeContent]:
        found = []
        for url in self.urls:
            artifact = Artifact(sha256=hashlib.sha256(url.encode()).hexdigest())
            declared = declare_artifact(self.remote, url, path=url[-1], artifact=artifact)
            found.append(declare(url[-1], declared))
        return found

    async def run(self) -> None:
        indexes = self.indexes()
        for index in indexes:
            await self.put(index)
        for index in indexes:
            await index.resolution()
            with index.d_artifacts[0].artifact.open() as file:
                self.read.append(file.read())


def put_indexes(upstream: Upstream) -> list[str]:
    """Put files that hold their own URLs, which is all that `Indexes` declares of them."""
    urls = [upstream.url(f"/{name}") for name in ("1", "2")]
    for url in urls:
        upstream.put(f"/{url[-1]}", url.encode())
    return urls


async def run(engine: Engine, stage: Stage, *, how: str = "sync") -> None:
    sync = DeclarativeVersion(stage, Repository(name="things"), engine=engine)
    await (sync.acreate() if how == "sync" else sync.aplan())


async def test_stage_reads_awaited_content_just_fetched_and_long_stored(
    engine: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    urls = put_indexes(upstream)
    expected = [url.encode() for url in urls]
    first, again, planned = (Indexes(urls) for _ in range(3))

    await run(engine, first)
    await run(engine, again)
    await run(engine, planned, how="plan")

    assert first.read == again.read == planned.read == expected
    assert (upstream.count("/1"), upstream.count("/2")) == (1, 1)
    assert staged_files(tmp_path) == []


async def test_content_that_is_awaited_after_its_run_has_no_file(
    engine: Engine, upstream: Upstream
) -> None:
    """The staging folder, where its bytes would lie, went with the run."""
    stage = Indexes(put_indexes(upstream))
    late: list[DeclarativeContent] = []

    class Late(Stage):
        async def run(self) -> None:
            late.extend(stage.indexes())
            for item in late:
                await self.put(item)

    await run(engine, Late())

    assert await late[0].resolution() is late[0].content
    with pytest.raises(DeclarationError, match="no bytes at hand"):
        late[0].d_artifacts[0].artifact.open()


async def test_stage_that_opens_lost_bytes_is_told(
    engine: Engine, store: MemoryBlobStore, upstream: Upstream
) -> None:
    urls = put_indexes(upstream)
    await run(engine, Indexes(urls))
    store.lose(name_of(urls[0].encode()))

    with pytest.raises(BlobMissingError, match="`flowsync verify --repair` fetches it again"):
        await run(engine, Indexes(urls))


async def test_stage_that_opens_damaged_bytes_gets_none_of_them(
    engine: Engine, store: MemoryBlobStore, upstream: Upstream
) -> None:
    urls = put_indexes(upstream)
    await run(engine, Indexes(urls))
    store.damage(name_of(urls[0].encode()), json.dumps([]).encode())

    with pytest.raises(BlobMissingError, match="`flowsync verify --repair` fetches it again"):
        await run(engine, Indexes(urls))


async def test_stored_bytes_that_nobody_awaited_say_how_to_have_them(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a": b"one"})).acreate()
    wanted = Artifact(sha256=hashlib.sha256(b"one").hexdigest())

    (stored,) = await engine.catalog.artifacts.find([wanted], frozenset({"sha256"}))

    assert isinstance(stored, StoredArtifact)
    assert stored.file is None
    with pytest.raises(DeclarationError, match=r"await resolution\(\) of the content first"):
        stored.open()


async def test_store_is_bound_to_its_catalog_and_another_one_is_refused(
    conninfo: str, tmp_path: Path, store: MemoryBlobStore, publish: Publish, file_sync: Sync
) -> None:
    home = tmp_path / "home"
    async with Engine(home, database_url=conninfo, store=store) as engine:
        await file_sync(publish(FILES), engine=engine).acreate()
    async with MemoryBlobStore(tmp_path / "other") as other:
        with pytest.raises(StoreMismatchError, match="it has none of the bytes"):
            await Engine(home, database_url=conninfo, store=other).open()
    with pytest.raises(StoreMismatchError, match=f"the store {home}/store is not that of"):
        await Engine(home, database_url=conninfo).open()

    async with Engine(home, database_url=conninfo, store=store) as engine:
        assert await paths(engine) == dict.fromkeys(FILES, True)


async def test_content_without_its_source_is_on_demand_and_comes_into_the_store(
    engine: Engine, store: MemoryBlobStore, publish: Publish, file_sync: Sync, upstream: Upstream
) -> None:
    url = publish(FILES)
    await file_sync(url, remote={"policy": "on_demand"}).acreate()
    assert await store.usage() == StoreUsage(0, 0)
    upstream.script("/large", Status(404))

    with pytest.raises(Exception, match="404"):
        await file_sync(url).acreate()
    await file_sync(url).acreate()

    assert (await store.usage()).blobs == 3
