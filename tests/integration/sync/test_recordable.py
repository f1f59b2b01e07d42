"""Text that the database cannot hold, in what becomes part of a run's record or of a version's: the
run has an end that says what happened.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowsync import Artifact, Engine, Remote, Repository, Stage, library
from flowsync.errors import (
    DeclarationError,
    DigestMismatchError,
    MetadataError,
    PipelineError,
    RepositoryNotFoundError,
    RunNotFoundError,
)
from flowsync.model.reports import Run
from flowsync.sync.declarative_version import DeclarativeVersion
from tests.integration.stages.conftest import declare, declare_artifact, sync

UNCLEAN = ["a\0b", "a\ud800b", "caf\udce9"]
NOT_UTF_8 = os.fsdecode(b"caf\xe9")


async def only_run(engine: Engine) -> Run:
    (run,) = await library.runs(engine)
    return run


class Failing(Stage):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def run(self) -> None:
        raise self.error


def failing(engine: Engine, error: BaseException) -> DeclarativeVersion:
    return DeclarativeVersion(Failing(error), Repository(name="things"), engine=engine)


@pytest.mark.parametrize("text", UNCLEAN, ids=ascii)
async def test_a_run_that_fails_with_unclean_text_has_failed_with_that_error(
    engine: Engine, text: str
) -> None:
    error = MetadataError(f"line 3: {text}")
    declarative = failing(engine, error)

    with pytest.raises(MetadataError) as raised:
        await declarative.acreate()

    assert raised.value is error
    run = await only_run(engine)
    shown = "".join("\ufffd" if sign in "\0\ud800\udce9" else sign for sign in text)
    assert (run.state, run.error) == ("failed", f"line 3: {shown}")
    assert declarative.result is not None
    assert declarative.result.error == run.error


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


async def test_an_error_that_cannot_say_what_it_is_is_recorded_by_its_class(
    engine: Engine,
) -> None:
    with pytest.raises(SpeechlessError):
        await failing(engine, SpeechlessError()).acreate()

    run = await only_run(engine)

    assert (run.state, run.error) == ("failed", "SpeechlessError")


@pytest.mark.parametrize("on_error", ["fail", "skip"])
async def test_a_local_file_whose_name_is_no_text_may_be_wrong(
    engine: Engine, tmp_path: Path, on_error: str
) -> None:
    """The error names the file."""
    file = tmp_path / NOT_UTF_8
    file.write_bytes(b"other bytes")
    wrong = Artifact(file=str(file), sha256=hashlib.sha256(b"what was declared").hexdigest())
    items = [declare("a", declare_artifact(None, "file:///a", path="a", artifact=wrong))]
    declarative = sync(engine, [*items, declare("b")], on_error=on_error)

    if on_error == "fail":
        with pytest.raises(DigestMismatchError):
            await declarative.acreate()
    else:
        version = await declarative.acreate()
        assert version is not None
        assert (version.present, len(version.info["left_out"])) == (1, 1)

    run = await only_run(engine)
    assert run.state == ("failed" if on_error == "fail" else "completed")
    if on_error == "skip":
        reasons = [
            one.reason async for batch in library.left_out(engine, run.number) for one in batch
        ]
        assert ["caf\ufffd" in reason for reason in reasons] == [True]


class Counting(Stage):
    def __init__(self, count: Callable[[Stage], None]) -> None:
        self.count = count

    async def run(self) -> None:
        self.count(self)
        await self.put(declare("a"))


def counting(engine: Engine, count: Callable[[Stage], None]) -> DeclarativeVersion:
    return DeclarativeVersion(Counting(count), Repository(name="things"), engine=engine)


@pytest.mark.parametrize("text", UNCLEAN, ids=ascii)
async def test_a_meter_may_have_an_unclean_code_and_message(engine: Engine, text: str) -> None:
    def count(stage: Stage) -> None:
        stage.meter(f"code.{text}", f"Reading {text}").advance(2)

    await counting(engine, count).acreate()

    run = await only_run(engine)
    assert run.state == "completed"
    (reading,) = [one for one in run.progress if one.code.startswith("code.")]
    assert (reading.done, "\ufffd" in reading.code, "\ufffd" in reading.message) == (2, True, True)


@pytest.mark.parametrize(
    ("done", "recorded"),
    [(float("nan"), 0), (float("inf"), 0), (2.5, 2), (10**30, 2**63 - 1), (-(10**30), 1 - 2**63)],
)
async def test_a_meter_that_counts_oddly_leaves_a_record_that_can_be_read(
    engine: Engine, done: Any, recorded: int
) -> None:
    def count(stage: Stage) -> None:
        stage.meter("odd", "Odd", done).advance(done, done)

    await counting(engine, count).acreate()

    run = await only_run(engine)
    (reading,) = [one for one in run.progress if one.code == "odd"]
    assert (run.state, reading.done, reading.total, reading.size) == (
        "completed",
        recorded,
        recorded,
        recorded,
    )


async def test_a_meter_is_named_by_text(engine: Engine) -> None:
    def count(stage: Stage) -> None:
        stage.meter("code", 3)  # type: ignore[arg-type]

    with pytest.raises(PipelineError, match="a meter are texts, found 3"):
        await counting(engine, count).acreate()

    assert (await only_run(engine)).state == "failed"


NO_JSON: list[Any] = [*UNCLEAN, float("nan"), {"deep": ["a\0b"]}, {"\ud800": 1}, object()]


@pytest.mark.parametrize("value", NO_JSON, ids=range(len(NO_JSON)))
async def test_what_cannot_be_recorded_with_a_version_is_refused_when_it_is_put(
    engine: Engine, value: Any
) -> None:
    async with engine.new_version(Repository(name="things")) as version:
        info = version.info
        for put in (
            lambda: info.__setitem__("note", value),
            lambda: info.update(note=value),
            lambda: info.setdefault("note", value),
            lambda: info.__ior__({"note": value}),
            lambda: setattr(version, "info", {"note": value}),
        ):
            with pytest.raises(DeclarationError, match="recorded with a version as 'note'"):
                put()
        assert "note" not in version.info


async def change_noting(engine: Engine, notes: list[str], note: str) -> None:
    async with engine.new_version(Repository(name="things")) as version:
        version.info["notes"] = notes
        notes.append(note)
        await version.remove_content([declare("a").content])


async def test_what_became_unrecordable_in_a_version_is_refused_at_its_end(
    engine: Engine,
) -> None:
    await sync(engine, [declare("a")]).acreate()

    with pytest.raises(DeclarationError, match="'notes' holds a NUL"):
        await change_noting(engine, [], "\0")

    assert (await library.version(engine, "things")).number == 1
    await change_noting(engine, [], "well")
    assert (await library.version(engine, "things")).info == {"notes": ["well"]}


@pytest.mark.parametrize("name", UNCLEAN, ids=ascii)
async def test_names_that_cannot_be_recorded_are_refused_or_not_found(
    engine: Engine, name: str
) -> None:
    await sync(engine, [declare("a")]).acreate()
    remote = Remote(name="near", url="http://localhost/")

    with pytest.raises(DeclarationError, match="alternate source"):
        await engine.add_alternate_source(name, remote)
    with pytest.raises(DeclarationError, match="alternate source"):
        await library.add_alternate_source(engine, "near", "file", remote, paths=[name])
    for work in (
        library.versions(engine, name),
        library.version(engine, name),
        library.repository(engine, name),
        library.runs(engine, name),
        library.remove_repository(engine, name),
        library.verify(engine, name),
        library.reclaim(engine, name),
        library.promote(engine, name, "other"),
        library.explain(engine, name, "a"),
    ):
        with pytest.raises(RepositoryNotFoundError, match="no repository is named"):
            await work
    with pytest.raises(RunNotFoundError):
        await library.run(engine, 1, name)


@pytest.mark.parametrize("text", UNCLEAN, ids=ascii)
async def test_no_version_has_a_path_that_cannot_be_recorded(engine: Engine, text: str) -> None:
    await sync(engine, [declare("a")]).acreate()

    explained = await library.explain(engine, "things", text)
    matching = [batch async for batch in library.entries(engine, "things", pattern=text)]

    assert (explained.present, explained.removal, explained.failure, matching) == (
        (),
        None,
        None,
        [],
    )
