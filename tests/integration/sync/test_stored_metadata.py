"""Metadata that an index names by digest is fetched once, however many syncs read it."""

import hashlib

import pytest

from flowsync import (
    Artifact,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Fetched,
    Remote,
    Repository,
    Stage,
    SyncPlan,
)
from flowsync.errors import DigestMismatchError
from flowsync.sources.file import FileContent
from tests.integration.sync.conftest import engine as engine
from tests.upstream.server import Upstream

INDEX = b"a list of packages" * 1000
SHA256 = hashlib.sha256(INDEX).hexdigest()


class Indexes(Stage):
    """Reads an index of which the digests are known, and declares it."""

    def __init__(self, remote: Remote, algorithm: str = "sha256") -> None:
        self.remote = remote
        self.algorithm = algorithm
        self.fetched: Fetched | None = None
        self.read = b""

    async def run(self) -> None:
        digest = hashlib.new(self.algorithm, INDEX).hexdigest()
        found = self.fetched = await self.context.metadata(
            self.remote, self.remote.url, expected={self.algorithm: digest}, size=len(INDEX)
        )
        assert found.path is not None
        with open(found.path, "rb") as file:
            self.read = file.read()
        sha256 = found.digests["sha256"]
        artifact = DeclarativeArtifact(
            Artifact(file=found.path, sha256=sha256, size=found.size, **_other(found, sha256)),
            url=self.remote.url,
            relative_path="index",
            remote=self.remote,
        )
        await self.put(DeclarativeContent(FileContent("index", sha256), [artifact]))


def _other(found: Fetched, sha256: str) -> dict[str, str]:
    return {name: digest for name, digest in found.digests.items() if digest != sha256}


async def read(
    engine: Engine, url: str, name: str = "indexes", algorithm: str = "sha256"
) -> Indexes:
    stage = Indexes(Remote(name="indexes", url=url, max_retries=0), algorithm)
    await DeclarativeVersion(stage, Repository(name=name), engine=engine).acreate()
    return stage


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_what_is_stored_is_not_fetched_again(
    engine: Engine, upstream: Upstream, algorithm: str
) -> None:
    url = upstream.put("/index", INDEX)
    first = await read(engine, url, algorithm=algorithm)
    second = await read(engine, url, "others", algorithm)

    assert first.read == second.read == INDEX
    assert upstream.count() == 1
    assert first.fetched is not None
    assert second.fetched is not None
    assert second.fetched.digests == first.fetched.digests
    assert second.fetched.size == len(INDEX)


async def test_a_plan_reads_it_from_the_store_too(engine: Engine, upstream: Upstream) -> None:
    url = upstream.put("/index", INDEX)
    await read(engine, url)

    stage = Indexes(Remote(name="indexes", url=url, max_retries=0))
    plan = await DeclarativeVersion(stage, Repository(name="indexes"), engine=engine).aplan()

    assert isinstance(plan, SyncPlan)
    assert (stage.read, upstream.count()) == (INDEX, 1)


@pytest.mark.parametrize("damage", ["lost", "shorter", "other bytes"])
async def test_stored_bytes_that_are_not_right_are_fetched(
    engine: Engine, upstream: Upstream, damage: str
) -> None:
    url = upstream.put("/index", INDEX)
    await read(engine, url)
    (blob,) = [
        file
        for file in engine.home.rglob("*")
        if file.is_file() and file.stat().st_size == len(INDEX) and file.read_bytes() == INDEX
    ]
    blob.chmod(0o600)
    match damage:
        case "lost":
            blob.unlink()
        case "shorter":
            blob.write_bytes(INDEX[:-1])
        case _:
            blob.write_bytes(INDEX.swapcase())

    again = await read(engine, url)

    assert again.read == INDEX
    assert upstream.count() == 2


async def test_wrong_bytes_of_upstream_are_refused(engine: Engine, upstream: Upstream) -> None:
    url = upstream.put("/index", INDEX.swapcase())

    with pytest.raises(DigestMismatchError):
        await read(engine, url)
