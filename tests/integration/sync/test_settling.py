"""A first stage that waits until all that it put is stored or left out, to declare what is made
of it.
"""

import hashlib

import pytest

from flowsync import (
    Artifact,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Remote,
    Repository,
    Stage,
)
from flowsync.errors import PipelineError, StatusError
from flowsync.sources.file import FileContent
from tests.integration.sync.conftest import engine as engine
from tests.integration.sync.conftest import paths
from tests.upstream.server import Upstream

FILES = {f"file-{number}": f"{number}".encode() for number in range(30)}


class Listing(Stage):
    """Declares files, and then a list of those that could be had, made here."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.listed: list[str] = []

    async def run(self) -> None:
        async with self.settling() as settled:
            await self.put_all([self._file(name) for name in FILES][:-1])
            await self.put(self._file(list(FILES)[-1]))
        failed = {item.content.relative_path for item in settled.left_out}
        self.listed = sorted(set(FILES) - failed)
        text = "\n".join(self.listed).encode()
        path = f"{self.context.staging}/list"
        with open(path, "wb") as file:
            file.write(text)
        digest = hashlib.sha256(text).hexdigest()
        made = DeclarativeArtifact(
            Artifact(file=path, sha256=digest, size=len(text)), url="file:///", relative_path="list"
        )
        await self.put(DeclarativeContent(FileContent("list", digest), [made]))

    def _file(self, name: str) -> DeclarativeContent:
        digest = hashlib.sha256(FILES[name]).hexdigest()
        artifact = DeclarativeArtifact(
            Artifact(sha256=digest, size=len(FILES[name])),
            url=f"{self.remote.url}{name}",
            relative_path=name,
            remote=self.remote,
        )
        return DeclarativeContent(FileContent(name, digest), [artifact])


def put_files(upstream: Upstream) -> str:
    for name, body in FILES.items():
        upstream.put(f"/{name}", body)
    return upstream.url("/")


def sync(engine: Engine, stage: Stage, **options: object) -> DeclarativeVersion:
    return DeclarativeVersion(
        stage,
        Repository(name="files"),
        True,
        engine=engine,
        **options,  # type: ignore[arg-type]
    )


def listing(url: str) -> Listing:
    return Listing(Remote(name="files", url=url, max_retries=0))


async def test_what_is_made_afterwards_knows_all_that_is_there(
    engine: Engine, upstream: Upstream
) -> None:
    stage = listing(put_files(upstream))

    await sync(engine, stage).acreate()

    assert stage.listed == sorted(FILES)
    assert sorted(await paths(engine)) == sorted([*FILES, "list"])


async def test_what_was_left_out_is_told(engine: Engine, upstream: Upstream) -> None:
    url = put_files(upstream)
    upstream.put("/file-3", b"wrong")
    upstream.put("/file-29", b"wrong")
    stage = listing(url)

    await sync(engine, stage, on_error="skip").acreate()

    assert stage.listed == sorted(set(FILES) - {"file-3", "file-29"})
    assert sorted(await paths(engine)) == sorted([*stage.listed, "list"])


async def test_what_is_deferred_is_settled_and_not_left_out(
    engine: Engine, upstream: Upstream
) -> None:
    url = put_files(upstream)
    upstream.put("/file-3", b"wrong")
    stage = listing(url)

    await sync(engine, stage, on_error="defer").acreate()

    assert stage.listed == sorted(FILES)
    assert (await paths(engine))["file-3"] is False


async def test_a_failed_sync_ends_also_while_it_is_waited_for(
    engine: Engine, upstream: Upstream
) -> None:
    with pytest.raises(StatusError):
        await sync(engine, listing(upstream.url("/nothing/"))).acreate()


async def test_a_plan_waits_for_nothing_and_fetches_nothing(
    engine: Engine, upstream: Upstream
) -> None:
    stage = listing(put_files(upstream))

    plan = await sync(engine, stage).aplan()
    fetched = upstream.count()
    version = await sync(engine, listing(upstream.url("/")), plan=plan).acreate()

    assert fetched == 0
    assert stage.listed == sorted(FILES)
    assert version is not None
    assert version.root == plan.root


async def test_only_one_block_waits_at_a_time(engine: Engine) -> None:
    class Twice(Stage):
        async def run(self) -> None:
            async with self.settling(), self.settling():
                pass

    with pytest.raises(PipelineError, match="waits already"):
        await sync(engine, Twice()).acreate()
