"""What a sync leaves in the records of runs, however it ends."""

import asyncio
import logging
import os

import pytest

from flowsync import DeclarativeContent, Engine, Stage
from flowsync.catalog.records.run_records import Runs
from flowsync.catalog.versions.new_version import NewVersion
from flowsync.errors import StatusError
from flowsync.model.reports import Run, RunTerms
from flowsync.model.repository import LeftOut, Repository
from flowsync.pipeline.stage import Progress
from flowsync.sync.run_context import Recording
from tests.integration.stages.conftest import declare, sync
from tests.integration.sync.conftest import Publish, Sync
from tests.upstream.behaviours import Hang, Status
from tests.upstream.server import Upstream

FILES = {"a": b"one", "b": b"two", "c": b"three"}


async def only_run(engine: Engine) -> Run:
    (run,) = await engine.catalog.runs.newest()
    return run


async def test_sync_that_went_well_leaves_who_made_it_and_what_it_came_to(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    version = await file_sync(publish(FILES), mirror=True).acreate()

    run = await only_run(engine)

    assert (run.repository, run.state, run.version, run.error) == ("files", "completed", 1, None)
    assert f"process {os.getpid()}" in run.actor
    assert run.terms.mirror
    (source,) = run.terms.sources
    assert (source.remote, source.url) == ("files", upstream.url("/PULP_MANIFEST"))
    assert run.result is not None
    assert (run.result["added"], run.result["downloaded"], run.result["bytes"]) == (3, 3, 11)
    counted = {reading.code: (reading.done, reading.state) for reading in run.progress}
    assert counted["sync.downloading.artifacts"] == (3, "completed")
    assert counted["associating.content"] == (3, "completed")
    assert version is not None
    assert version.info == {"run": run.number}


async def test_url_of_a_run_is_recorded_without_its_secrets(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(f"{publish(FILES)}?key=secret").acreate()

    (source,) = (await only_run(engine)).terms.sources

    assert source.url.endswith("/PULP_MANIFEST?key=***")


async def test_sync_that_found_upstream_unchanged_is_recorded_as_skipped(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    url = publish(FILES)
    await file_sync(url).acreate()
    await file_sync(url).acreate()

    second, first = await engine.catalog.runs.newest("files")

    assert (first.state, first.version) == ("completed", 1)
    assert (second.state, second.version, second.error) == ("skipped", None, None)


async def test_sync_that_failed_leaves_its_error_and_how_far_it_came(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish(FILES)
    upstream.script("/b", Status(403))
    with pytest.raises(StatusError):
        await file_sync(url).acreate()

    run = await only_run(engine)

    assert (run.state, run.version) == ("failed", None)
    assert run.error is not None
    assert upstream.url("/b") in run.error
    assert run.ended is not None
    assert ("Parsing Metadata", 3) in {(one.message, one.done) for one in run.progress}


async def test_sync_that_was_cancelled_says_so(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish(FILES)
    upstream.always("/b", Hang())
    task = asyncio.create_task(file_sync(url).acreate())
    await asyncio.to_thread(upstream.wait_for, 4)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (await only_run(engine)).state == "canceled"


async def test_what_was_left_out_is_listed_with_its_reason(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish(FILES)
    upstream.script("/b", Status(403))
    await file_sync(url, on_error="skip").acreate()

    run = await only_run(engine)
    (left_out,) = [one async for batch in engine.catalog.runs.left_out(run.number) for one in batch]

    assert (run.state, run.left_out, run.terms.on_error) == ("completed", 1, "skip")
    assert (left_out.relative_path, left_out.url, left_out.action) == (
        "b",
        upstream.url("/b"),
        "skipped",
    )
    assert "403" in left_out.reason
    assert "left_out" not in (run.result or {})


class LooksAtItself(Stage):
    """A first stage that looks at the record of its own run."""

    def __init__(self) -> None:
        self.seen: list[Run] = []

    async def run(self) -> None:
        await self.put(declare("one"))
        self.seen = await self.context.catalog.runs.newest()


async def test_run_is_seen_as_running_while_it_runs(engine: Engine) -> None:
    stage = LooksAtItself()
    declarative = sync(engine, list[DeclarativeContent]())
    declarative.first_stage = stage

    await declarative.acreate()

    assert [run.state for run in stage.seen] == ["running"]


async def seen_with(runs: Runs, progress: int, left_out: int) -> Run:
    """Wait until the record of the newest run tells of so much."""
    async with asyncio.timeout(5):
        while True:
            (run,) = await runs.newest()
            done = [reading.done for reading in run.progress]
            if (done, run.left_out) == ([progress], left_out):
                return run
            await asyncio.sleep(0.01)


async def recorded(version: NewVersion, engine: Engine) -> None:
    progress, left_out = Progress(), list[LeftOut]()
    meter = progress.meter("files", "Files", 2)
    recording = Recording(engine.catalog.runs, progress, left_out, interval=0.01)
    await recording.start(version, RunTerms())
    async with recording.kept():
        meter.advance()
        await seen_with(engine.catalog.runs, 1, 0)
        meter.advance()
        left_out.append(LeftOut(relative_path="a", url="", reason="lost", action="deferred"))
        run = await seen_with(engine.catalog.runs, 2, 1)
    assert run.state == "running"


async def test_progress_and_what_was_left_out_are_recorded_while_the_run_goes_on(
    engine: Engine,
) -> None:
    async with engine.new_version(Repository(name="files")) as version:
        await recorded(version, engine)


async def warned(caplog: pytest.LogCaptureFixture) -> None:
    while True:
        if caplog.records:
            return
        await asyncio.sleep(0.01)


async def test_database_that_cannot_be_told_of_progress_does_not_end_the_run(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "flowsync.sync.run_context")
    async with engine.new_version(Repository(name="files")) as version:
        recording = Recording(engine.catalog.runs, Progress(), [], interval=0.01)
        await recording.start(version, RunTerms())
        async with engine.catalog.database.connection() as connection:
            await connection.execute("ALTER TABLE run RENAME COLUMN progress TO hidden")
        async with recording.kept(), asyncio.timeout(5):
            await warned(caplog)

    assert "could not be recorded" in caplog.text
