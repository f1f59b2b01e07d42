"""Content stages on a real catalog: look-up, save with hooks, sources, futures, association,
un-association.
"""

import asyncio
import hashlib
from collections.abc import Sequence

import pytest

from flowsync import (
    Artifact,
    ContentSaver,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    NewVersion,
    RemoteArtifactSaver,
    Repository,
    Stage,
    create_pipeline,
)
from flowsync.errors import UnboundStageError, UnsupportedDigestError
from flowsync.model.content import key_id
from flowsync.pipeline.stage import EndStage
from tests.integration.stages.conftest import (
    Given,
    Thing,
    declare,
    declare_artifact,
    remote,
    sync,
)
from tests.upstream.server import Upstream

LAZY = Artifact(sha256=hashlib.sha256(b"body").hexdigest(), size=4)


async def rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    async with engine.catalog.database.connection() as connection:
        return await (await connection.execute(query)).fetchall()


class Replacing(DeclarativeVersion):
    """A sync in which one built-in stage is replaced."""

    replacement: Stage

    def pipeline_stages(self, new_version: NewVersion) -> list[Stage]:
        kind = type(self.replacement).__mro__[1]
        return [
            self.replacement if type(stage) is kind else stage
            for stage in super().pipeline_stages(new_version)
        ]


def replacing(engine: Engine, stage: Stage, items: Sequence[DeclarativeContent]) -> Replacing:
    declarative = Replacing(Given(items), Repository(name="things"), engine=engine)
    declarative.replacement = stage
    return declarative


# --- look-up and save ---


async def test_a_unit_with_other_fields_beyond_its_key_is_another_unit(engine: Engine) -> None:
    """The newer one takes the place of the older, which stays what it is in the versions that have
    it.
    """
    first = await sync(engine, [declare("one", colour="red")]).acreate()

    item = declare("one", colour="blue")
    version = await sync(engine, [item]).acreate()

    assert first is not None
    assert version is not None
    assert (version.added, version.removed, version.present) == (1, 1, 1)
    assert item.content == Thing(name="one", colour="blue")
    query = "SELECT fields ->> 'colour', key_id FROM content ORDER BY touched_at"
    key = key_id(item.content)
    assert await rows(engine, query) == [("red", key), ("blue", key)]


async def test_what_a_hook_changes_of_a_unit_belongs_to_it(engine: Engine) -> None:
    class Painting(ContentSaver):
        def _pre_save(self, batch: Sequence[DeclarativeContent]) -> None:
            for item in batch:
                if not item.saved:
                    item.content = Thing(name="one", colour="green")

    await sync(engine, [declare("one", colour="green")]).acreate()
    painted = await replacing(engine, Painting(), [declare("one", colour="red")]).acreate()

    assert painted is None
    assert await rows(engine, "SELECT fields ->> 'colour' FROM content") == [("green",)]


async def test_one_unit_declared_twice_is_stored_once_and_both_items_pass(engine: Engine) -> None:
    """Two objects of one unit are two items; the version has it once."""
    items = [declare("one"), declare("one"), declare("two")]

    version = await sync(engine, items).acreate()

    assert version is not None
    assert (version.added, version.present) == (2, 2)
    assert [item.saved for item in items] == [True, True, True]


async def test_hooks_run_in_the_batch_s_transaction_before_and_after(engine: Engine) -> None:
    """Both hooks see the transaction; what they write is there when the batch is."""

    class Noting(ContentSaver):
        async def _pre_save(self, batch: Sequence[DeclarativeContent]) -> None:
            assert self.transaction is not None
            await self.transaction.execute("CREATE TABLE note (name text, saved bigint)")
            await self._note(batch)

        async def _post_save(self, batch: Sequence[DeclarativeContent]) -> None:
            await self._note(batch)

        async def _note(self, batch: Sequence[DeclarativeContent]) -> None:
            assert self.transaction is not None
            await self.transaction.execute(
                "INSERT INTO note SELECT %s, count(*) FROM content", (str(len(batch)),)
            )

    await replacing(engine, Noting(), [declare("one"), declare("two")]).acreate()

    assert await rows(engine, "SELECT name, saved FROM note ORDER BY saved") == [("2", 0), ("2", 2)]


async def test_hooks_may_be_plain_methods(engine: Engine) -> None:
    seen: list[str] = []

    class Noting(ContentSaver):
        def _pre_save(self, batch: Sequence[DeclarativeContent]) -> None:
            seen.append(f"before {len(batch)}")

        def _post_save(self, batch: Sequence[DeclarativeContent]) -> None:
            seen.append(f"after {len(batch)}")

    await replacing(engine, Noting(), [declare("one")]).acreate()

    assert seen == ["before 1", "after 1"]


async def test_an_error_in_a_hook_undoes_the_whole_batch(engine: Engine) -> None:
    class Failing(ContentSaver):
        def _post_save(self, batch: Sequence[DeclarativeContent]) -> None:
            raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await replacing(engine, Failing(), [declare("one")]).acreate()

    assert await rows(engine, "SELECT * FROM content") == []
    assert (await engine.catalog.repositories.version("things")).number == 0


# --- sources ---


async def test_all_urls_are_recorded_with_size_and_digests(engine: Engine) -> None:
    """Every URL is kept, not only the first."""
    artifact = declare_artifact(
        remote(), "http://a/1", "http://b/1", path="p", artifact=LAZY, deferred_download=True
    )

    await sync(engine, [declare("one", artifact)]).acreate()

    query = "SELECT relative_path, urls, size, encode(sha256, 'hex') FROM remote_artifact"
    assert await rows(engine, query) == [("p", ["http://a/1", "http://b/1"], 4, LAZY.sha256)]


async def test_two_remotes_with_one_url_are_two_sources(engine: Engine) -> None:
    """The original recorded none for the second."""
    for name in ("first", "second"):
        artifact = declare_artifact(
            remote(name), "http://a/1", path="p", artifact=LAZY, deferred_download=True
        )
        await sync(engine, [declare("one", artifact)]).acreate()

    assert await rows(engine, "SELECT count(*) FROM remote_artifact") == [(2,)]


class Moving(ContentSaver):
    """Declares what it has saved at another path."""

    def _post_save(self, batch: Sequence[DeclarativeContent]) -> None:
        for item in batch:
            for declared in item.d_artifacts:
                declared.relative_path = f"new/{declared.relative_path}"


class Mismatching(DeclarativeVersion):
    """A sync whose declarations do not fit what it has saved."""

    fixing = False

    def pipeline_stages(self, new_version: NewVersion) -> list[Stage]:
        replaced = {
            ContentSaver: Moving(),
            RemoteArtifactSaver: RemoteArtifactSaver(fix_mismatched_remote_artifacts=self.fixing),
        }
        return [replaced.get(type(stage), stage) for stage in super().pipeline_stages(new_version)]


def lazy(path: str, *urls: str) -> DeclarativeArtifact:
    return declare_artifact(remote(), *urls, path=path, artifact=LAZY, deferred_download=True)


async def test_a_source_at_an_unknown_path_is_an_error_that_names_path_and_content(
    engine: Engine,
) -> None:
    item = declare("one", lazy("old", "http://a/1"))

    with pytest.raises(ValueError, match=r"'new/old'.*Thing\(name='one'"):
        await Mismatching(Given([item]), Repository(name="things"), engine=engine).acreate()


async def test_fix_mismatched_records_the_source_at_the_last_stored_path(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    item = declare("one", lazy("old-a", "http://a/1"), lazy("old-b", "http://b/2"))
    mismatching = Mismatching(Given([item]), Repository(name="things"), engine=engine)
    mismatching.fixing = True

    await mismatching.acreate()

    query = "SELECT relative_path, urls FROM remote_artifact"
    assert await rows(engine, query) == [("old-b", ["http://b/2"])]
    assert "new" in caplog.text


async def test_fix_mismatched_without_any_stored_path_is_an_error(engine: Engine) -> None:
    """None at all."""

    class Adding(ContentSaver):
        def _post_save(self, batch: Sequence[DeclarativeContent]) -> None:
            batch[0].d_artifacts.append(lazy("new", "http://b/2"))

    class Fixing(Replacing):
        def pipeline_stages(self, new_version: NewVersion) -> list[Stage]:
            *stages, _, futures = super().pipeline_stages(new_version)
            return [*stages, RemoteArtifactSaver(fix_mismatched_remote_artifacts=True), futures]

    fixing = Fixing(Given([declare("one")]), Repository(name="things"), engine=engine)
    fixing.replacement = Adding()

    with pytest.raises(ValueError, match="'new'"):
        await fixing.acreate()


@pytest.mark.parametrize(
    ("artifact", "accepted"),
    [
        (Artifact(), True),
        (LAZY, True),
        (Artifact(sha256=LAZY.sha256, md5="0" * 32), True),
        (Artifact(md5="0" * 32, sha1="0" * 40), False),
    ],
)
async def test_lazy_sources_need_one_allowed_digest_or_none_at_all(
    engine: Engine, artifact: Artifact, accepted: bool
) -> None:
    declared = declare_artifact(
        remote(), "http://a/1", path="p", artifact=artifact, deferred_download=True
    )
    declarative = sync(engine, [declare("one", declared)])

    if accepted:
        assert await declarative.acreate() is not None
    else:
        with pytest.raises(UnsupportedDigestError, match="sha1"):
            await declarative.acreate()


# --- alternate sources ---


async def test_bytes_come_from_the_alternate_source_and_the_original_stays_recorded(
    engine: Engine, upstream: Upstream
) -> None:
    """No swapped credentials, no hidden original."""
    near = remote("near")
    near_url = upstream.put("/near/body", b"body")
    lazy = declare_artifact(near, near_url, path="p", artifact=LAZY, deferred_download=True)
    await engine.add_alternate_source("near", near)
    await sync(engine, [declare("one", lazy)], name="near").acreate()
    far_url = upstream.put("/far/body", b"body")
    wanted = declare_artifact(remote("far"), far_url, path="p", artifact=LAZY)

    version = await sync(engine, [declare("two", wanted)], acs=True).acreate()

    assert version is not None
    assert (upstream.count("/near/body"), upstream.count("/far/body")) == (1, 0)
    query = "SELECT r.name FROM remote_artifact a JOIN remote r ON r.id = a.remote_id ORDER BY 1"
    assert await rows(engine, query) == [("far",), ("near",)]


async def test_a_broken_alternate_source_falls_back_to_the_original(
    engine: Engine, upstream: Upstream
) -> None:
    """The copy of the alternate source is corrupted."""
    near = remote("near")
    near_url = upstream.put("/near/body", b"evil")
    lazy = declare_artifact(near, near_url, path="p", artifact=LAZY, deferred_download=True)
    await engine.add_alternate_source("near", near)
    await sync(engine, [declare("one", lazy)], name="near").acreate()
    far_url = upstream.put("/far/body", b"body")
    wanted = declare_artifact(remote("far"), far_url, path="p", artifact=LAZY)

    await sync(engine, [declare("two", wanted)], acs=True).acreate()

    assert (upstream.count("/near/body"), upstream.count("/far/body")) == (1, 1)


async def test_without_acs_alternate_sources_are_not_asked(
    engine: Engine, upstream: Upstream
) -> None:
    near = remote("near")
    lazy = declare_artifact(
        near, upstream.put("/near/body", b"body"), path="p", artifact=LAZY, deferred_download=True
    )
    await engine.add_alternate_source("near", near)
    await sync(engine, [declare("one", lazy)], name="near").acreate()
    wanted = declare_artifact(
        remote("far"), upstream.put("/far/body", b"body"), path="p", artifact=LAZY
    )

    await sync(engine, [declare("two", wanted)]).acreate()

    assert upstream.count("/near/body") == 0


# --- futures ---


class Awaiting(Stage):
    """Puts items and awaits them, each before the next or all at the end."""

    def __init__(self, items: Sequence[DeclarativeContent], *, late: bool) -> None:
        self.given, self.late = items, late
        self.resolved: list[object] = []

    async def run(self) -> None:
        for item in self.given:
            await self.put(item)
            if not self.late:
                self.resolved.append(await item.resolution())
        if self.late:
            self.resolved = [await item.resolution() for item in self.given]


@pytest.mark.parametrize("late", [True, False])
async def test_an_awaited_unit_is_released_from_every_batch(engine: Engine, late: bool) -> None:
    """Through all stages of a sync, no stage waits for 500 items that never come."""
    await sync(engine, [declare("1", colour="new")]).acreate()
    stage = Awaiting([declare(str(number), colour="new") for number in range(5)], late=late)

    version = await DeclarativeVersion(stage, Repository(name="awaited"), engine=engine).acreate()

    assert version is not None
    assert stage.resolved == [Thing(name=str(number), colour="new") for number in range(5)]


# --- association ---


async def test_removal_happens_only_after_a_complete_stream(engine: Engine) -> None:
    """A first stage that fails can never remove content."""
    await sync(engine, [declare("one"), declare("two")]).acreate()

    class Broken(Given):
        async def run(self) -> None:
            await super().run()
            raise ConnectionError("the second half of the metadata never came")

    with pytest.raises(ConnectionError):
        await DeclarativeVersion(
            Broken([declare("three")]), Repository(name="things"), mirror=True, engine=engine
        ).acreate()

    latest = await engine.catalog.repositories.version("things")
    assert (latest.number, latest.present) == (1, 2)


async def test_a_mirror_of_an_empty_upstream_empties_the_repository_if_it_may(
    engine: Engine,
) -> None:
    await sync(engine, [declare("one"), declare("two")]).acreate()

    version = await sync(engine, [], mirror=True, max_removal=1.0).acreate()

    assert version is not None
    assert (version.removed, version.present) == (2, 0)


async def test_association_hands_on_only_what_is_new_to_the_version(engine: Engine) -> None:
    repository = Repository(name="things")
    await sync(engine, [declare("one")]).acreate()
    seen: list[object] = []

    class Watch(DeclarativeVersion):
        def _all_stages(self, new_version: NewVersion) -> list[Stage]:
            *stages, end = super()._all_stages(new_version)
            return [*stages, Tee(seen), end]

    class Tee(Stage):
        def __init__(self, seen: list[object]) -> None:
            self.seen = seen

        async def run(self) -> None:
            async for item in self.items():
                self.seen.append(item.content)

    await Watch(Given([declare("one"), declare("two")]), repository, engine=engine).acreate()

    assert seen == [Thing(name="two")]


async def test_a_stage_that_needs_ports_says_so_when_it_is_run_without(engine: Engine) -> None:
    with pytest.raises(UnboundStageError, match="ContentSaver"):
        await create_pipeline([Given([declare("one")]), ContentSaver(), EndStage()])


async def test_two_syncs_that_save_the_same_content_at_once_both_succeed(engine: Engine) -> None:
    syncs = [
        sync(engine, [declare(str(number)) for number in range(300)], name=f"r{index}")
        for index in range(5)
    ]

    versions = await asyncio.gather(*(declarative.acreate() for declarative in syncs))

    assert [version.present for version in versions if version] == [300] * 5
    assert await rows(engine, "SELECT count(*) FROM content") == [(300,)]
