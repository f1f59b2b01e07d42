"""What a stage may put: declarations that can be recorded and written out. The error names the
stage and what it put, and no version is made.
"""

from pathlib import Path
from typing import Any

import pytest

from flowsync import (
    Artifact,
    Content,
    DeclarationError,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    NewVersion,
    Remote,
    Repository,
    Stage,
)
from flowsync.errors import DuplicateContentError

UPSTREAM = Remote(name="upstream", url="http://localhost:9/", policy="on_demand")


class Thing(Content):
    type_name = "test.admission.thing"
    natural_key = ("name",)

    name: str
    fields: Any = None
    count: int = 0
    ratio: float | None = None


class Puts(Stage):
    """Puts what it is given."""

    def __init__(self, *items: Any) -> None:
        self.remote = UPSTREAM
        self.items_to_put = items

    async def run(self) -> None:
        await self.put_all(self.items_to_put)


class Release(Content):
    type_name = "test.admission.release"
    natural_key = ("name", "number")
    repo_key = ("name",)

    name: str
    number: int


class Spoils(Stage):
    """Changes a good declaration on its way."""

    async def run(self) -> None:
        async for item in self.items():
            item.d_artifacts[0].relative_path = "../out"
            await self.put(item)


class SpoiledVersion(DeclarativeVersion):
    def pipeline_stages(self, new_version: NewVersion) -> list[Stage]:
        first, known, *others = super().pipeline_stages(new_version)
        return [first, known, Spoils(), *others]


def artifact(path: str = "a", **fields: Any) -> DeclarativeArtifact:
    given = {"artifact": Artifact(size=1, sha256="a" * 64), "url": "http://localhost:9/a"}
    return DeclarativeArtifact(
        **{**given, "remote": UPSTREAM, "deferred_download": True, **fields},
        relative_path=path,
    )


def unit(*artifacts: DeclarativeArtifact, **fields: Any) -> DeclarativeContent:
    return DeclarativeContent(Thing(**{"name": "one", **fields}), list(artifacts))


def changed(**attributes: Any) -> DeclarativeContent:
    """Return a unit whose artifact was changed after it was declared."""
    declared = artifact()
    for name, value in attributes.items():
        setattr(declared, name, value)
    return unit(declared)


def unit_with(**attributes: Any) -> DeclarativeContent:
    declared = unit(artifact())
    for name, value in attributes.items():
        setattr(declared, name, value)
    return declared


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


NOT_TO_BE_PUT: dict[str, tuple[Any, str]] = {
    "a number": (5, "stage Puts put 5 of type int, where only a DeclarativeContent can be put"),
    "a content": (Thing(name="one"), "stage Puts put Thing(name='one'"),
    "content that is none": (DeclarativeContent(content=5), "is of type int, not a Content"),  # type: ignore[arg-type]
    "a NUL": (unit(fields="a\0b"), "its field 'fields' holds a NUL"),
    "a NUL in the key": (unit(name="a\0b"), "its field 'name' holds a NUL"),
    "a NUL as a name inside": (unit(fields={"\0": 1}), "its field 'fields' holds a NUL"),
    "a lone surrogate": (unit(name="caf\udce9"), "its field 'name' cannot be recorded: it holds a"),
    "too deep": (unit(fields=nested(300)), "its field 'fields' is nested deeper than 200 levels"),
    "far too deep": (unit(fields=nested(50_000)), "its field 'fields' cannot be recorded"),
    "no number": (unit(ratio=float("nan")), "its field 'ratio' holds nan"),
    "an infinite number inside": (unit(fields=[float("inf")]), "its field 'fields' holds inf"),
    "an object": (unit(fields=object()), "its field 'fields' cannot be recorded"),
    "another type": (unit(count="three"), "its fields do not fit their types"),
    "a path that leads out": (changed(relative_path="../a"), "'../a' contains '..'"),
    "a path that is none": (changed(relative_path=None), "None is no text"),
    "two at one path": (
        unit(artifact(), artifact()),
        "two of its artifacts have the relative path",
    ),
    "no artifact": (changed(artifact=None), "the artifact at 'a' is of type NoneType"),
    "no remote": (changed(remote="upstream"), "has a remote of type str"),
    "no urls": (changed(urls=[]), "has no list of urls"),
    "a url that is none": (changed(urls=[5]), "has a url that is no text: 5"),
    "a url of two lines": (changed(urls=["http://h/a\nhttp://h/b"]), "has a url with a control"),
    "credentials": (changed(urls=["http://me:secret@h/a"]), "has a url with credentials in it"),
    "headers that are none": (changed(extra_data={"headers": 5}), "has headers of type int"),
    "a header's name": (
        changed(extra_data={"headers": {"a b": "c"}}),
        "'a b' cannot be the name of a header",
    ),
    "a header's value": (
        changed(extra_data={"headers": {"Accept": "secret\r\nX: y"}}),
        "the value of header 'Accept' holds control characters",
    ),
    "artifacts that are none": (unit_with(d_artifacts=[5]), "hold 5, which is no Declarative"),
    "no list of artifacts": (unit_with(d_artifacts=None), "d_artifacts are of type NoneType"),
    "a line that is none": (unit_with(line=1 << 40), "its line is 1099511627776"),
}


@pytest.mark.parametrize("kind", NOT_TO_BE_PUT)
async def test_what_cannot_be_recorded_is_refused_when_it_is_put(engine: Engine, kind: str) -> None:
    item, problem = NOT_TO_BE_PUT[kind]
    sync = DeclarativeVersion(Puts(item), Repository(name="things"), engine=engine)

    with pytest.raises(DeclarationError) as refused:
        await sync.acreate()

    assert str(refused.value).startswith("stage Puts put ")
    assert problem in str(refused.value)
    assert "secret" not in str(refused.value)
    assert (await engine.catalog.repositories.version("things")).number == 0
    assert (await engine.catalog.runs.newest())[0].state == "failed"


async def test_what_a_later_stage_changes_is_checked_again(engine: Engine) -> None:
    stage = Puts(unit(artifact()))
    sync = SpoiledVersion(stage, Repository(name="things"), engine=engine)

    with pytest.raises(
        DeclarationError, match=r"stage Spoils put DeclarativeContent.*contains '..'"
    ):
        await sync.acreate()


async def test_a_plan_refuses_what_the_sync_would_refuse(engine: Engine) -> None:
    sync = DeclarativeVersion(Puts(unit(name="a\0b")), Repository(name="things"), engine=engine)

    with pytest.raises(DeclarationError, match=r"stage Puts put .* holds a NUL"):
        await sync.aplan()


async def test_what_looks_odd_and_can_be_recorded_is_taken(engine: Engine) -> None:
    items = [
        unit(artifact("ü/日本/🙂"), name="plain text that says \\u0000"),
        unit(artifact("b"), name="numbers", fields=[None, 1 << 70, 1.5, {"a": [True]}]),
        unit(artifact("c"), name="nested", fields=nested(150)),
        unit(artifact("d", url="http://localhost:9/ü?a=b c"), name="\u2028"),
    ]
    sync = DeclarativeVersion(Puts(*items), Repository(name="things"), engine=engine)

    version = await sync.acreate()

    assert version is not None
    assert version.present == 4


async def test_two_units_that_exclude_each_other_are_named_with_their_lines(
    engine: Engine,
) -> None:
    items = [
        DeclarativeContent(Release("a", 1), line=3),
        DeclarativeContent(Release("b", 1)),
        DeclarativeContent(Release("a", 2), line=17),
    ]
    sync = DeclarativeVersion(Puts(*items), Repository(name="things"), engine=engine)

    with pytest.raises(DuplicateContentError) as refused:
        await sync.acreate()

    for number, line in ((1, 3), (2, 17)):
        unit_shown = (
            f"""'test.admission.release {{"name": "a", "number": {number}}}' (line {line})"""
        )
        assert unit_shown in str(refused.value)


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a//b", "a/./b", "dir/", "a\x01", "a\udce9", "x" * 256]
)
def test_a_path_that_cannot_be_written_out_is_refused_where_it_is_declared(path: str) -> None:
    with pytest.raises(DeclarationError, match="cannot have the relative_path '"):
        artifact(path)


@pytest.mark.parametrize("size", ["5", 5.0, True, 1 << 63, -1])
def test_a_size_that_is_none_is_refused_where_it_is_declared(size: Any) -> None:
    with pytest.raises(DeclarationError, match="size of an artifact"):
        Artifact(size=size)


def test_a_digest_or_file_that_is_none_is_refused_where_it_is_declared(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="sha256 must be 64"):
        Artifact(sha256=b"a" * 64)  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="file of an artifact must be a path"):
        Artifact(file="a\0b")
    assert Artifact(file=tmp_path).file == tmp_path  # type: ignore[arg-type, comparison-overlap]
