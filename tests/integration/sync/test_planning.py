"""What a plan foretells, and that it changes nothing."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from flowsync import (
    Artifact,
    Content,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    FlowsyncError,
    NewVersion,
    Remote,
    Repository,
    Stage,
    SyncPlan,
)
from flowsync.errors import PlanOutdatedError, StatusError
from tests.integration.stages.conftest import Given, declare, declare_artifact, remote, sync
from tests.integration.sync.conftest import Publish, Sync
from tests.upstream.behaviours import Status
from tests.upstream.server import Upstream

FIRST = {"a": b"one", "b": b"two", "c": b"three"}
SECOND = {"a": b"changed", "b": b"two", "d": b"one"}

EVERYTHING = (
    "artifact",
    "content",
    "content_artifact",
    "remote",
    "remote_artifact",
    "repository",
    "repository_version",
    "repository_content",
    "run",
    "left_out",
)


class Package(Content):
    type_name = "test.plan.package"
    natural_key = ("name", "version")
    repo_key = ("name",)

    name: str
    version: str


def package(name: str, version: str) -> DeclarativeContent:
    return DeclarativeContent(content=Package(name=name, version=version))


async def everything(engine: Engine) -> list[object]:
    """Return all rows that anybody can see."""
    async with engine.catalog.database.connection() as connection:
        return [
            await (
                await connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")  # noqa: S608
            ).fetchall()
            for table in EVERYTHING
        ]


async def test_plan_of_a_first_sync_tells_all_of_it_and_records_nothing(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    before = await everything(engine)

    plan = await file_sync(publish(FIRST), mirror=True).aplan()

    assert (plan.repository, plan.base, plan.present) == ("files", 0, 3)
    assert (plan.added, plan.added_bytes, plan.removed, plan.removed_bytes) == (3, 11, 0, 0)
    assert (plan.downloads, plan.download_bytes, plan.downloads_unsized) == (3, 11, 0)
    assert await everything(engine) == before
    assert upstream.count() == 1


@pytest.mark.parametrize(
    ("mirror", "removed", "removed_bytes", "present"),
    [
        (True, 2, 8, 3),
        (False, 1, 3, 4),
    ],
)
async def test_plan_foretells_the_version_that_the_sync_makes(
    engine: Engine,
    publish: Publish,
    file_sync: Sync,
    mirror: bool,
    removed: int,
    removed_bytes: int,
    present: int,
) -> None:
    """Of the second state, a is replaced, d has the bytes that a had, and c is gone from
    upstream.
    """
    await file_sync(publish(FIRST), mirror=mirror).acreate()
    url = publish(SECOND)
    before = await everything(engine)

    plan = await file_sync(url, mirror=mirror).aplan()
    unchanged = await everything(engine)
    version = await file_sync(url, mirror=mirror).acreate()

    assert unchanged == before
    assert (plan.base, plan.added, plan.added_bytes) == (1, 2, 10)
    assert (plan.removed, plan.removed_bytes, plan.present) == (removed, removed_bytes, present)
    assert (plan.downloads, plan.download_bytes) == (1, 7)
    assert version is not None
    assert (version.added, version.removed, version.present) == (2, removed, present)
    assert plan.root == version.root
    assert plan.base_root != plan.root


async def test_plan_of_an_unchanged_upstream_says_so(publish: Publish, file_sync: Sync) -> None:
    url = publish(FIRST)
    version = await file_sync(url).acreate()

    plan, forced = await file_sync(url).aplan(), await file_sync(url, force=True).aplan()

    assert version is not None
    assert (plan.unchanged, plan.changes, plan.present) == (True, False, 3)
    assert (forced.unchanged, forced.changes, forced.present) == (False, False, 3)
    assert {plan.root, forced.root, plan.base_root} == {version.root}
    assert (forced.added, forced.removed, forced.downloads) == (0, 0, 0)


async def outcome(engine: Engine, items: Sequence[DeclarativeContent], **options: Any) -> SyncPlan:
    """Plan, sync the same, and return the plan, which came true."""
    plan = await sync(engine, items, **options).aplan()
    version = await sync(engine, items, **options).acreate()
    assert version is not None
    assert (plan.added, plan.removed, plan.present, plan.root) == (
        version.added,
        version.removed,
        version.present,
        version.root,
    )
    return plan


async def test_replacements_by_repository_key_are_foretold(engine: Engine) -> None:
    """Also of a unit that the stream contains too."""
    await sync(engine, [package("x", "1"), package("y", "1"), package("z", "1")]).acreate()

    added = await outcome(engine, [package("x", "1"), package("x", "2"), package("y", "2")])
    mirrored = await outcome(engine, [package("x", "3"), package("w", "1")], mirror=True)

    assert (added.added, added.removed) == (2, 2)
    assert (mirrored.added, mirrored.removed) == (2, 3)


async def test_units_that_only_others_know_or_that_come_twice_are_added_once(
    engine: Engine,
) -> None:
    await sync(engine, [declare("one")], name="other").acreate()

    plan = await outcome(engine, [declare("one"), declare("two"), declare("two")])

    assert plan.added == 2


async def test_shared_bytes_are_downloaded_once_and_unknown_sizes_are_counted(
    engine: Engine,
) -> None:
    twice = Artifact(size=4, sha256=hashlib.sha256(b"body").hexdigest())
    source = remote()
    items = [
        declare("a", declare_artifact(source, "http://localhost/a", path="a", artifact=twice)),
        declare("b", declare_artifact(source, "http://localhost/b", path="b", artifact=twice)),
        declare("c", declare_artifact(source, "http://localhost/c", path="c")),
        declare(
            "d",
            declare_artifact(source, "http://localhost/d", path="d", deferred_download=True),
        ),
    ]

    plan = await sync(engine, items).aplan()

    assert (plan.added, plan.added_bytes) == (4, 8)
    assert (plan.downloads, plan.download_bytes, plan.downloads_unsized) == (2, 4, 1)


async def test_a_mirror_that_would_lose_most_is_foretold_to_be_refused(engine: Engine) -> None:
    await sync(engine, [declare(str(number)) for number in range(150)]).acreate()
    few = [declare(str(number)) for number in range(70)]

    refused = await sync(engine, few, mirror=True).aplan()
    allowed = await sync(engine, few, mirror=True, max_removal=1.0).aplan()

    assert refused.refusal is not None
    assert "would remove 80 of 150 units" in refused.refusal
    assert (refused.removed, allowed.removed, allowed.refusal) == (80, 80, None)


async def test_an_unfinished_version_is_not_planned_upon(engine: Engine) -> None:
    await sync(engine, [declare("one"), declare("two")]).acreate()
    async with engine.new_version(Repository(name="things")) as version:
        await version.set_content([declare("three").content])
        await version.add_content([declare("one").content])

        plan = await sync(engine, [declare("two")], mirror=True).aplan()

        await version.set_content([declare("one").content, declare("two").content])

    assert (plan.base, plan.added, plan.removed, plan.present) == (1, 0, 1, 1)


class Indexes(Stage):
    """As in the README: puts some files, and then what each of them lists."""

    def __init__(self, source: Remote, indexes: Sequence[DeclarativeContent]) -> None:
        self.remote, self.indexes = source, indexes

    async def run(self) -> None:
        waiting = []
        for d_content in self.indexes:
            await self.put(d_content)
            waiting.append(d_content)
        for d_content in waiting:
            await d_content.resolution()
            with d_content.d_artifacts[0].artifact.open() as index:
                for name in json.load(index):
                    await self.put(declare(name))


class Nested(Indexes):
    """Each index leads to the next one, and nothing is put before it was read."""

    async def run(self) -> None:
        for d_content in self.indexes:
            await self.put(d_content)
            await d_content.resolution()
            with d_content.d_artifacts[0].artifact.open() as index:
                for name in json.load(index):
                    await self.put(declare(name))


@pytest.mark.parametrize("kind", [Indexes, Nested])
@pytest.mark.parametrize("count", [1, 3])
async def test_plan_of_a_stage_that_reads_what_it_has_put(
    engine: Engine, upstream: Upstream, kind: type[Indexes], count: int
) -> None:
    """Only what it reads is downloaded, one of them large enough to be a file; nothing is stored,
    and the sync comes to what was planned.
    """
    bodies = [json.dumps([f"{n}-a", f"{n}-b", " " * (100_000 * n)]) for n in range(count)]
    source = remote()
    indexes: list[DeclarativeContent] = []

    def first_stage() -> Indexes:
        indexes.clear()
        for number, body in enumerate(bodies):
            path = f"index-{number}"
            url = upstream.put(f"/{path}", body.encode())
            sha256 = hashlib.sha256(body.encode()).hexdigest()
            artifact = Artifact(size=len(body), sha256=sha256)
            indexes.append(
                declare(path, declare_artifact(source, url, path=path, artifact=artifact))
            )
        return kind(source, indexes)

    def make() -> DeclarativeVersion:
        return DeclarativeVersion(first_stage(), Repository(name="things"), engine=engine)

    before = await everything(engine)
    plan = await make().aplan()
    unchanged = await everything(engine)
    version = await make().acreate()

    assert unchanged == before
    assert version is not None
    assert (plan.root, plan.added) == (version.root, version.added)
    assert (plan.downloads, plan.download_bytes) == (count, sum(map(len, bodies)))
    assert upstream.count() == 2 * count


async def test_plan_fetches_nothing_that_nobody_reads(engine: Engine, upstream: Upstream) -> None:
    source = remote()
    items = [
        declare(name, declare_artifact(source, upstream.put(f"/{name}", b"[]"), path=name))
        for name in "abc"
    ]

    class ReadsOne(Indexes):
        async def run(self) -> None:
            await self.put_all(self.indexes)
            await self.indexes[1].resolution()

    stage = ReadsOne(source, items)
    await DeclarativeVersion(stage, Repository(name="things"), engine=engine).aplan()

    assert [seen.target for seen in upstream.requests()] == ["/b"]


async def test_plan_fails_with_the_download_that_its_stage_waits_for(
    engine: Engine, upstream: Upstream
) -> None:
    source = remote()
    missing = declare("a", declare_artifact(source, upstream.url("/missing"), path="a"))
    stage = Indexes(source, [missing])

    with pytest.raises(StatusError, match="404"):
        await DeclarativeVersion(stage, Repository(name="things"), engine=engine).aplan()


class Own(DeclarativeVersion):
    def pipeline_stages(self, new_version: NewVersion) -> list[Stage]:
        return super().pipeline_stages(new_version)


async def test_a_sync_with_stages_of_its_own_is_not_planned(engine: Engine) -> None:
    own = Own(Given([]), Repository(name="things"), engine=engine)

    with pytest.raises(FlowsyncError, match="Own overrides pipeline_stages"):
        await own.aplan()


async def test_planned_sync_comes_to_what_was_planned(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FIRST), mirror=True).acreate()
    url = publish(SECOND)
    plan = await file_sync(url, mirror=True).aplan()

    version = await file_sync(url, mirror=True, plan=plan).acreate()

    assert version is not None
    assert (version.number, version.root) == (2, plan.root)
    assert (await engine.catalog.runs.newest())[0].terms.planned == plan.root


async def expect_outdated(declarative: DeclarativeVersion, engine: Engine, said: str) -> None:
    """Expect the sync to stop, to say why, and to change nothing."""
    before = (await engine.catalog.repositories.versions("files"))[-1]

    with pytest.raises(PlanOutdatedError, match=said):
        await declarative.acreate()

    assert (await engine.catalog.repositories.versions("files"))[-1] == before
    assert (await engine.catalog.runs.newest())[0].state == "failed"


async def test_planned_sync_stops_when_the_repository_moved_on(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    """Before anything is fetched."""
    url = publish(FIRST)
    plan = await file_sync(url, mirror=True).aplan()
    await file_sync(publish(SECOND), mirror=True).acreate()
    publish(FIRST)
    asked = upstream.count()

    await expect_outdated(
        file_sync(url, mirror=True, plan=plan),
        engine,
        r"from version 0, root \w+; 'files' is at version 1, root \w+: the repository moved on",
    )
    assert upstream.count() == asked


async def test_planned_sync_stops_when_upstream_moved_on(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FIRST), mirror=True).acreate()
    url = publish(SECOND)
    plan = await file_sync(url, mirror=True).aplan()
    publish({**SECOND, "e": b"more"})

    await expect_outdated(
        file_sync(url, mirror=True, plan=plan),
        engine,
        r"upstream leads to \w+ now, with 3 added and 2 removed: upstream moved on",
    )


@pytest.mark.parametrize("force", [True, False])
async def test_planned_sync_stops_when_upstream_moved_back(
    engine: Engine, publish: Publish, file_sync: Sync, force: bool
) -> None:
    """Whether upstream is found unchanged by its metadata alone, or by its content."""
    url = publish(FIRST)
    await file_sync(url, mirror=True).acreate()
    publish(SECOND)
    plan = await file_sync(url, mirror=True).aplan()
    publish(FIRST)

    await expect_outdated(
        file_sync(url, mirror=True, plan=plan, force=force),
        engine,
        "upstream leads to no change now: upstream moved on",
    )


async def test_planned_sync_that_stopped_is_not_remembered(
    publish: Publish, file_sync: Sync
) -> None:
    url = publish(FIRST)
    await file_sync(url).acreate()
    publish(SECOND)
    plan = await file_sync(url, mirror=True).aplan()
    publish(FIRST)
    with pytest.raises(PlanOutdatedError):
        await file_sync(url, mirror=True, plan=plan).acreate()

    again = file_sync(url, mirror=True)
    await again.acreate()

    assert again.result is not None
    assert not again.result.skipped


async def test_planned_sync_stops_when_something_cannot_be_had(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({}), mirror=True).acreate()
    url = publish(FIRST)
    plan = await file_sync(url, on_error="skip").aplan()
    upstream.script("/b", Status(404))

    await expect_outdated(
        file_sync(url, on_error="skip", plan=plan),
        engine,
        "1 files of the plan could not be had.*b: ",
    )


async def test_plan_without_a_change_is_kept_by_doing_nothing(
    publish: Publish, file_sync: Sync
) -> None:
    url = publish(FIRST)
    await file_sync(url).acreate()
    plan = await file_sync(url).aplan()

    declarative = file_sync(url, plan=plan)

    assert await declarative.acreate() is None
    assert declarative.result is not None
    assert declarative.result.skipped
