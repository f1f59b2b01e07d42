"""A program that uses what is public, for type checkers; it is never run.

`assert_type` says what a checker has to see. A line that must be an error is one that a checker is
told to ignore: `test_typing.py` and `make typed` fail on a comment that ignores nothing.
"""

import asyncio
import json
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import assert_type

import msgspec

import flowsync
from flowsync import (
    WHOLE_CONTENT,
    Artifact,
    ArtifactDownloader,
    Content,
    ContentSaver,
    ContentServer,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    EndStage,
    Engine,
    Event,
    Fetched,
    FetchRequest,
    FlowsyncError,
    GeneratedFiles,
    Layout,
    MetadataError,
    NewFiles,
    NewVersion,
    Observer,
    Policy,
    Remote,
    Repository,
    RepositoryVersion,
    ServerLimits,
    SourceKind,
    Stage,
    SyncEnded,
    SyncResult,
    UpstreamUnchanged,
    Validators,
    VersionEntry,
    VersionReader,
    create_pipeline,
    library,
    problem_with_path,
    redact,
)
from flowsync.configuration import (
    Configuration,
    InstalledKinds,
    KindOption,
    UnusableSync,
    WantedSync,
    options_of,
    read_configuration,
    register_alternates,
)
from flowsync.errors import (
    AllSourcesFailedError,
    DigestMismatchError,
    MassRemovalError,
    RepositoryNotFoundError,
    StatusError,
    SyncTimeoutError,
)
from flowsync.library import (
    BareUnit,
    Change,
    Explanation,
    ExportReport,
    LeftOut,
    PruneReport,
    RefreshedPath,
    Run,
    Status,
    UnitFields,
    VerifyReport,
)
from flowsync.stages import LeaveOut, RunContext

# --- what a plugin declares -------------------------------------------------------------------


class Wheel(Content):
    type_name = "example.wheel"
    natural_key = ("filename", "sha256")
    repo_key = ("filename",)

    filename: str
    sha256: str
    size: int = 0


class Line(Content):
    natural_key = WHOLE_CONTENT

    text: str


class FirstStage(Stage):
    def __init__(self, remote: Remote) -> None:
        self.remote = remote

    async def run(self) -> None:
        downloader = self.remote.get_downloader(url=self.remote.url, same_origin=True)
        result = await downloader.run()
        assert_type(result, Fetched)
        assert_type(result.path, str | None)
        if result.path is None:
            raise UpstreamUnchanged
        await self.declare(Path(result.path))

    async def declare(self, path: Path) -> None:
        waiting: list[DeclarativeContent] = []
        for name, sha256 in json.loads(path.read_text()).items():
            if problem_with_path(name):
                raise MetadataError(f"{redact(self.remote.url)}: a bad path")
            artifact = Artifact(sha256=sha256, size=7)
            d_artifact = DeclarativeArtifact(
                artifact, url=f"{self.remote.url}{name}", relative_path=name, remote=self.remote
            )
            assert_type(d_artifact.artifact, Artifact)
            d_content = DeclarativeContent(content=Wheel(name, sha256), d_artifacts=[d_artifact])
            assert_type(d_content.content, Content)
            assert_type(d_content.content_id, bytes)
            await self.put(d_content)
            waiting.append(d_content)
        for d_content in waiting:
            await d_content.resolution()


class OnlyWheels(Stage):
    async def run(self) -> None:
        async for batch in self.batches(minsize=100):
            for d_content in batch:
                await self.put(d_content)


class Wheels(DeclarativeVersion):
    def pipeline_stages(self, new_version: NewVersion) -> list[Stage]:
        first, *others = super().pipeline_stages(new_version)
        return [first, OnlyWheels(), *others, LeaveOut(new_version)]


class Options(msgspec.Struct, frozen=True):
    depth: int = 3


class OptionsStage(FirstStage):
    def __init__(self, remote: Remote, options: Options) -> None:
        super().__init__(remote)
        self.options = options


def write_index(version: VersionReader, files: NewFiles) -> None:
    with files.open("index") as index:
        for file in version.files(Wheel):
            assert_type(file.content, Wheel)
            index.write(file.relative_path.encode())


KIND = SourceKind(
    name="example",
    summary="An index.",
    first_stage=OptionsStage,
    options=Options,
    layout=Layout(types=(Wheel,), files=(GeneratedFiles(paths=("index",), make=write_index),)),
)

# --- what a program does ----------------------------------------------------------------------


def watch(event: Event) -> None:
    if isinstance(event, SyncEnded):
        assert_type(event.result, SyncResult)
        assert_type(event.result.left_out, tuple[LeftOut, ...])


async def sync(engine: Engine, remote: Remote) -> RepositoryVersion | None:
    observer: Observer = watch
    repository = Repository(name="wheels", retain_versions=3)
    job = DeclarativeVersion(
        FirstStage(remote), repository, mirror=True, engine=engine, observers=[observer]
    )
    try:
        version = await job.acreate()
    except SyncTimeoutError as error:
        assert_type(error.seconds, float)
        raise
    except (StatusError, DigestMismatchError, MassRemovalError, AllSourcesFailedError) as error:
        raise FlowsyncError(str(error)) from error
    assert_type(version, RepositoryVersion | None)
    assert_type(job.result, SyncResult | None)
    return version


async def read(engine: Engine, name: str) -> None:
    assert_type(await library.versions(engine, name), list[RepositoryVersion])
    assert_type(await library.latest_versions(engine), list[RepositoryVersion])
    assert_type(await library.repository(engine, name), Repository)
    async with aclosing(library.entries(engine, name, pattern="*.whl")) as batches:
        async for entries in batches:
            assert_type(entries, list[VersionEntry])
            assert_type(entries[0].size, int | None)
            ids = [entry.content_id for entry in entries]
            assert_type(await library.unit_fields(engine, ids), list[UnitFields])
    async with aclosing(library.bare_units(engine, name)) as units:
        async for bare in units:
            assert_type(bare, list[BareUnit])
    async with aclosing(library.difference(engine, name, 1, 2)) as changes:
        async for some in changes:
            assert_type(some, list[Change])
    assert_type(await library.explain(engine, name, "a"), Explanation)
    (run,) = await library.runs(engine, name, limit=1)
    assert_type(run, Run)
    assert_type(await library.status(engine), Status)


async def change(engine: Engine, name: str) -> None:
    assert_type(await library.roll_back(engine, name, 1), RepositoryVersion | None)
    assert_type(await library.promote(engine, name, name), RepositoryVersion | None)
    assert_type(await library.delete_version(engine, name, 1), RepositoryVersion | None)
    await library.protect_version(engine, name, 2)
    remote = Remote(name="near", url="file:///media/dvd/")
    await library.add_alternate_source(engine, "near", "example", remote, paths=["a/"])
    refreshed = await library.refresh_alternate_source(engine, "near", KIND.first_stage)
    assert_type(refreshed, list[RefreshedPath])
    assert_type(
        await library.export_version(engine, name, "out"), tuple[RepositoryVersion, ExportReport]
    )
    assert_type(await flowsync.verify(engine, repair=True), VerifyReport)
    assert_type(await flowsync.prune(engine, older_than=timedelta(hours=1)), PruneReport)
    async with engine.new_version(Repository(name=name)) as version:
        assert_type(version, NewVersion)
        assert_type(await version.add_content([Line("a"), b"id of a unit"]), int)


async def configured() -> None:
    configuration = read_configuration(config="flowsync.toml")
    assert_type(configuration, Configuration)
    async with configuration.engine() as engine:
        acs = await register_alternates(engine, configuration.file)
        for wanted in configuration.wanted_syncs(overrides={"depth": ["2"]}):
            if isinstance(wanted, UnusableSync):
                assert_type(wanted.reason, str)
            else:
                assert_type(wanted, WantedSync)
                assert_type(await wanted.sync(engine, acs=acs), SyncResult)
                assert_type(wanted.declare(engine, acs=acs), DeclarativeVersion)
    assert_type(InstalledKinds().load("file"), SourceKind)
    assert_type(options_of(KIND), list[KindOption])


async def main() -> None:
    policy: Policy = "on_demand"
    remote = Remote(name="r", url="https://example.org/", policy=policy, headers=[("X-A", "b")])
    async with Engine("home", database_url="postgresql://db/flowsync", workers=2) as engine:
        await sync(engine, remote)
        await read(engine, "wheels")
        await change(engine, "wheels")
        limits = ServerLimits(grace=5.0)
        async with ContentServer(engine, kinds=[KIND], limits=limits) as server:
            for host, port in server.addresses:
                assert_type((host, port), tuple[str, int])
    await create_pipeline([OnlyWheels(), ArtifactDownloader(), ContentSaver(), EndStage()])
    with DeclarativeArtifact(Artifact(), url="u", relative_path="p").artifact.open() as body:
        assert_type(body.read(), bytes)


class Ports(Stage):
    async def run(self) -> None:
        context: RunContext = self.context
        request = FetchRequest(url="u", remote=Remote(name="r", url="u:"), validators=Validators())
        await context.fetcher.download(request)


# --- what must be an error --------------------------------------------------------------------


async def wrong(engine: Engine) -> None:
    Remote(name="r")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Remote(name="r", url="u", policy="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Wheel(1, "a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Repository(name="r").name = "s"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    DeclarativeVersion(OnlyWheels(), "r")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await library.versions("r")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    flowsync.StatusError  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: B018 - that is the error
    try:
        await sync(engine, Remote(name="r", url="u:"))
    except RepositoryNotFoundError as error:
        error.number  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: B018 - as above


if __name__ == "__main__":
    asyncio.run(main())
