import asyncio
from typing import Any

import pytest

from flowsync.declare import DeclarativeArtifact, DeclarativeContent, Source
from flowsync.errors import DeclarationError
from flowsync.model.artifact import Artifact, StagedArtifact, StoredArtifact
from flowsync.model.content import Content
from flowsync.model.remote import Remote
from flowsync.pipeline.pipeline import create_pipeline
from flowsync.pipeline.stage import EndStage, Stage

UPSTREAM = Remote(name="upstream", url="http://host/")


class Thing(Content):
    natural_key = ("name",)

    name: str
    colour: str = "red"


def artifact(**fields: Any) -> DeclarativeArtifact:
    given = {"artifact": Artifact(), "url": "http://host/a", "relative_path": "a"}
    return DeclarativeArtifact(**{**given, "remote": UPSTREAM, **fields})


def test_artifact_takes_its_arguments_in_the_order_of_the_document() -> None:
    declared = DeclarativeArtifact(
        Artifact(size=1), "http://host/a", None, "a/b", UPSTREAM, {"headers": {}}, True
    )

    assert declared.artifact == Artifact(size=1)
    assert (declared.url, declared.relative_path) == ("http://host/a", "a/b")
    assert declared.remote is UPSTREAM
    assert (declared.extra_data, declared.deferred_download) == ({"headers": {}}, True)


def test_artifact_has_the_defaults_of_the_document() -> None:
    """`extra_data` is never None."""
    declared = artifact()

    assert declared.extra_data == {}
    assert declared.deferred_download is False


def test_url_is_the_first_of_urls() -> None:
    one = artifact()
    several = artifact(url=None, urls=("http://one/a", "http://two/a"))

    assert (one.url, one.urls) == ("http://host/a", ["http://host/a"])
    assert (several.url, several.urls) == ("http://one/a", ["http://one/a", "http://two/a"])


def test_url_is_a_view_of_urls() -> None:
    """It cannot be set, and changes with them."""
    declared = artifact()
    declared.urls.insert(0, "http://mirror/a")

    assert declared.url == "http://mirror/a"
    with pytest.raises(AttributeError):
        declared.url = "http://other/a"  # type: ignore[misc]


NOTHING: dict[str, Any] = {
    "url": None,
    "urls": None,
    "relative_path": None,
    "artifact": None,
    "remote": None,
}


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (NOTHING, "needs a url, or urls"),
        ({**NOTHING, "url": ""}, "needs a url, or urls"),
        ({**NOTHING, "urls": []}, "needs a url, or urls"),
        ({**NOTHING, "url": "http://a", "urls": ["http://b"]}, "either url or urls, not both"),
        ({**NOTHING, "url": "http://a"}, "needs a relative_path"),
        ({**NOTHING, "url": "http://a", "relative_path": ""}, "needs a relative_path"),
        ({**NOTHING, "url": "http://a", "relative_path": "a"}, "needs an artifact"),
        ({"remote": None}, "needs a remote, unless its artifact has a file"),
    ],
)
def test_incomplete_artifact_is_refused(fields: dict[str, Any], found: str) -> None:
    with pytest.raises(ValueError, match=found) as refused:
        artifact(**fields)

    assert isinstance(refused.value, DeclarationError)


def test_artifact_with_a_file_needs_no_remote() -> None:
    declared = artifact(artifact=Artifact(file="/tmp/body"), remote=None)

    assert declared.remote is None


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, True),
        ({"artifact": Artifact(sha256="a" * 64, size=5)}, True),
        ({"deferred_download": True}, False),
        ({"artifact": Artifact(file="/tmp/body")}, False),
        ({"artifact": StagedArtifact(size=5, body=b"bytes")}, False),
        ({"artifact": StoredArtifact(id=1)}, False),
    ],
)
def test_download_is_wanted_when_the_bytes_are_nowhere(
    fields: dict[str, Any], wanted: bool
) -> None:
    assert artifact(**fields).wants_download is wanted


def test_artifact_gains_knowledge_on_its_way() -> None:
    declared = artifact()

    declared.artifact = StoredArtifact(id=1)
    declared.alternates.append(Source(UPSTREAM, ("http://near/a",)))

    assert not declared.wants_download
    assert declared.alternates[0].urls == ["http://near/a"]


def test_two_declarations_of_one_artifact_are_two() -> None:
    """Equality is identity."""
    same = Artifact(size=1)

    assert artifact(artifact=same) != artifact(artifact=same)


def test_artifact_is_shown_by_its_path_and_urls() -> None:
    assert repr(artifact()) == "DeclarativeArtifact('a', urls=['http://host/a'])"


def test_content_is_needed() -> None:
    with pytest.raises(ValueError, match="DeclarativeContent needs a content") as refused:
        DeclarativeContent()

    assert isinstance(refused.value, DeclarationError)


def test_content_has_the_defaults_of_the_document() -> None:
    declared = DeclarativeContent(content=Thing(name="a"))

    assert (declared.d_artifacts, declared.extra_data) == ([], {})
    assert not declared.saved


def test_content_takes_its_arguments_in_the_order_of_the_document() -> None:
    part = artifact()

    declared = DeclarativeContent(Thing(name="a"), [part], {"origin": 1})

    assert declared.d_artifacts == [part]
    assert declared.extra_data == {"origin": 1}


def test_two_declarations_of_one_unit_are_two_items() -> None:
    unit = Thing(name="a")

    assert DeclarativeContent(unit) != DeclarativeContent(unit)
    assert len({DeclarativeContent(unit), DeclarativeContent(unit)}) == 2


def test_declarations_share_no_lists() -> None:
    first, second = DeclarativeContent(Thing(name="a")), DeclarativeContent(Thing(name="b"))

    first.d_artifacts.append(artifact())
    first.extra_data["x"] = 1

    assert (second.d_artifacts, second.extra_data) == ([], {})


def test_id_of_the_content_stays_when_it_is_fixed() -> None:
    declared = DeclarativeContent(Thing(name="a"))
    before = declared.fix_id()

    declared.content = Thing(name="a", colour="blue")

    assert declared.content_id == before != DeclarativeContent(declared.content).content_id


def test_what_was_declared_stays_known_when_the_bytes_are_found() -> None:
    declared = artifact(artifact=Artifact(size=1))
    completed = Artifact(size=1, sha256="ab" * 32)

    declared.artifact = completed
    declared.artifact = StoredArtifact(id=1, size=1, sha256="ab" * 32, blake3="cd" * 32)

    assert declared.as_declared is completed


def test_own_attributes_are_not_invented_by_mistake() -> None:
    """A misspelt attribute is an error."""
    with pytest.raises(AttributeError):
        DeclarativeContent(Thing(name="a")).d_artifact = []  # type: ignore[attr-defined]


def test_content_is_shown_by_its_unit() -> None:
    assert str(DeclarativeContent(Thing(name="a"))) == (
        "DeclarativeContent(Thing(name='a', colour='red'))"
    )


async def test_resolution_gives_the_stored_counterpart() -> None:

    class First(Stage):
        async def run(self) -> None:
            await self.put(declared)
            found.append(await declared.resolution())

    class Store(Stage):
        async def run(self) -> None:
            async for batch in self.batches():
                for item in batch:
                    item.content = stored
                    item.resolve()
                await self.put_all(batch)

    declared, stored = DeclarativeContent(Thing(name="a")), Thing(name="a", colour="stored")
    found: list[Any] = []

    await create_pipeline([First(), Store(), EndStage()])

    assert found == [stored]
    assert await declared.resolution() is stored


async def test_content_resolved_by_a_stage_that_drops_it_is_as_it_was_declared() -> None:
    declared = DeclarativeContent(Thing(name="a"))
    waiting = asyncio.create_task(declared.resolution())
    await asyncio.sleep(0)

    declared.resolve()

    assert await waiting == Thing(name="a")
