"""Ids of units: equal exactly when all that is declared is equal, and those of the natural key
where it fixes all of that.
"""

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowsync import (
    Artifact,
    Content,
    DeclarationError,
    DeclarativeArtifact,
    DeclarativeContent,
    Remote,
    StagedArtifact,
    StoredArtifact,
)
from flowsync.model.content import key_id
from flowsync.sources.file import FileContent

UPSTREAM = Remote(name="upstream", url="http://host/")
ONE, TWO = "11" * 32, "22" * 32
LONG = "33" * 64
BLAKE = "44" * 32


class Package(Content):
    """A unit with a field beyond its key."""

    type_name: ClassVar[str] = "test.package"
    natural_key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    summary: Any = ""


class Bare(Content):
    """A unit that is nothing but its key."""

    type_name: ClassVar[str] = "test.bare"
    natural_key: ClassVar[tuple[str, ...]] = ("name",)
    name: str


def artifact(path: str = "a", url: str = "http://host/a", **known: Any) -> DeclarativeArtifact:
    return DeclarativeArtifact(Artifact(**known), url=url, relative_path=path, remote=UPSTREAM)


def unit(content: Content, *artifacts: DeclarativeArtifact) -> bytes:
    return DeclarativeContent(content, artifacts).content_id


FILE = FileContent(relative_path="a", sha256=ONE)


def test_id_of_a_file_is_that_of_its_key() -> None:
    """Written out, because ids are kept in databases: they must never change."""
    found = unit(FILE, artifact(sha256=ONE, size=5))

    assert found == key_id(FILE)
    assert found.hex() == "30dbd978ea98f251d9c250554910df94"


def test_id_of_what_the_key_does_not_fix_is_written_out_too() -> None:
    found = unit(Package("a", summary="b"), artifact(sha256=ONE), artifact("b", size=3))

    assert found.hex() == "d00eeec04d91572bc3a0a9ea8e9b401e"


@pytest.mark.parametrize(
    "artifacts",
    [
        [],
        [artifact("b", sha256=ONE)],
        [artifact(sha256=TWO)],
        [artifact(sha512=LONG)],
        [artifact(size=5)],
        [artifact(sha256=ONE), artifact("b", sha256=ONE)],
    ],
)
def test_file_that_is_declared_otherwise_than_its_key_says_is_another_unit(
    artifacts: list[DeclarativeArtifact],
) -> None:
    assert unit(FILE, *artifacts) != key_id(FILE)


def test_unit_without_anything_beyond_its_key_has_the_id_of_that() -> None:
    assert unit(Bare("a")) == key_id(Bare("a"))
    assert unit(Bare("a"), artifact(sha256=ONE)) != key_id(Bare("a"))
    assert unit(Package("a")) != key_id(Package("a"))


DECLARED = st.fixed_dictionaries(
    {
        "summary": st.sampled_from(["", "x", None, 1, "1", ["x"], {"k": 1, "l": 2}]),
        "files": st.dictionaries(
            st.sampled_from("ab"),
            st.sampled_from(
                [
                    {"sha256": ONE},
                    {"sha256": TWO},
                    {"sha512": LONG},
                    {"md5": ONE[:32]},
                    {"size": 1},
                    {},
                ]
            ),
        ),
    }
)


def declare(given: dict[str, Any]) -> DeclarativeContent:
    artifacts = [artifact(path, **known) for path, known in given["files"].items()]
    return DeclarativeContent(Package("p", summary=given["summary"]), artifacts)


def typed(given: dict[str, Any]) -> object:
    return type(given["summary"]), given


@given(one=DECLARED, other=DECLARED)
def test_ids_are_equal_exactly_when_all_that_is_declared_is(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    equal = typed(one) == typed(other)

    assert (declare(one).content_id == declare(other).content_id) is equal


@given(st.permutations(["a", "b", "c"]), st.permutations(["k", "l", "m"]))
def test_order_of_artifacts_and_of_mappings_does_not_matter(
    paths: list[str], names: list[str]
) -> None:
    summary = {name: name * 2 for name in names}
    artifacts = [artifact(path, sha256=ONE) for path in paths]

    ordered = unit(
        Package("p", summary={"k": "kk", "l": "ll", "m": "mm"}),
        *(artifact(path, sha256=ONE) for path in "abc"),
    )
    assert unit(Package("p", summary=summary), *artifacts) == ordered


@pytest.mark.parametrize("known", [{"sha256": ONE}, {"sha512": LONG, "size": 5}, {"size": 5}])
@pytest.mark.parametrize(
    "found",
    [
        StagedArtifact(size=5, sha256=ONE, sha512=LONG, blake3=BLAKE, body=b"12345"),
        StoredArtifact(id=7, size=5, sha256=ONE, sha512=LONG, blake3=BLAKE),
    ],
)
def test_what_is_found_later_does_not_change_the_id_of_what_has_a_digest(
    known: dict[str, Any], found: Artifact
) -> None:
    declared = artifact(**known)
    item = DeclarativeContent(Package("p"), [declared])
    before = item.content_id

    declared.artifact = found

    assert (item.content_id == before) is ("size" not in known or len(known) > 1)


def test_bytes_that_came_stand_for_an_artifact_without_a_digest() -> None:
    declared, other = artifact(url="http://host/1"), artifact(sha256=ONE)
    declared.artifact = StoredArtifact(id=7, size=5, sha256=ONE, sha512=LONG, blake3=BLAKE)

    assert unit(Package("p"), declared) == unit(Package("p"), other)


def test_without_digest_and_bytes_another_url_or_size_is_another_unit() -> None:
    """Nothing else says that two upstreams have the same bytes."""
    ids = {
        unit(Package("p"), artifact(url="http://one/a", size=5)),
        unit(Package("p"), artifact(url="http://two/a", size=5)),
        unit(Package("p"), artifact(url="http://two/a", size=6)),
        unit(Package("p"), artifact(url="http://two/a")),
    }

    assert len(ids) == 4


def test_field_that_has_no_form_as_bytes_is_refused() -> None:
    with pytest.raises(DeclarationError, match="cannot encode Package"):
        unit(Package("p", summary=object()))
