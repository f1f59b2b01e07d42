"""Declarations cross to a worker and back: all of them gets there, what changed comes back into the
very objects.
"""

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from flowsync import (
    Artifact,
    Content,
    DeclarativeArtifact,
    DeclarativeContent,
    Remote,
    StagedArtifact,
    StoredArtifact,
)
from flowsync.declare import Source
from flowsync.errors import CannotCrossError, DigestMismatchError
from flowsync.model.remote import Fetcher
from flowsync.stages.remote.codecs import DeclarationCodec, WorkerDeclarationCodec

SHA = "ab" * 32
BLAKE = "cd" * 32


class Wheel(Content):
    type_name = "test.wheel"
    natural_key = ("name",)

    name: str
    tags: tuple[str, ...] = ()
    metadata: dict[str, int] = msgspec.field(default_factory=dict)


class Pair(Content):
    natural_key = ("name",)

    name: str
    other: object


class NoFetcher:
    closed = False


FETCHER = cast(Fetcher, NoFetcher())


def remote(name: str = "upstream", **fields: Any) -> Remote:
    return Remote(name=name, url="https://host/", **fields)


def declared(artifact: Artifact | None = None, **fields: Any) -> DeclarativeArtifact:
    options: dict[str, Any] = {
        "url": "https://host/a",
        "relative_path": "a",
        "remote": remote(),
        **fields,
    }
    return DeclarativeArtifact(artifact or Artifact(), **options)


class Crossing:
    """Both codecs, as parent and worker use them."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.parent = DeclarationCodec(str(folder), workers)
        self.worker = WorkerDeclarationCodec(str(folder), FETCHER)
        self.items: list[DeclarativeContent] = []

    def there(self, *items: DeclarativeContent) -> list[DeclarativeContent]:
        self.items = list(items)
        return self.worker.decode(self.parent.encode(items))

    def back(
        self, *put_on: DeclarativeContent, order: list[int] | None = None
    ) -> list[DeclarativeContent]:
        order = list(range(len(put_on))) if order is None else order
        return self.parent.merge(self.worker.encode(put_on, order), self.items, order)


@pytest.fixture
def crossing(tmp_path: Path) -> Crossing:
    return Crossing(tmp_path)


def test_all_of_a_declaration_gets_there(crossing: Crossing, tmp_path: Path) -> None:
    own = remote(username="user", password="secret", headers=[("X-A", "b")])
    other = remote("mirror", token="token")
    states = [
        Artifact(size=3, sha256=SHA, md5="ef" * 16),
        Artifact(file="/elsewhere/file"),
        StagedArtifact(size=3, sha256=SHA, blake3=BLAKE, file=f"{tmp_path}/staged"),
        StoredArtifact(id=7, size=0, sha256=SHA, blake3=BLAKE),
    ]
    artifacts = [
        declared(state, remote=own, extra_data={"headers": {"A": "b"}}) for state in states
    ]
    artifacts[1].deferred_download = True
    artifacts[1].urls = ["https://host/1", "https://host/2"]
    artifacts[0].alternates = [Source(other, ["https://mirror/a"])]
    item = DeclarativeContent(
        Wheel(name="w", tags=("x", "y"), metadata={"k": 1}), artifacts, {"note": [1, None]}
    )
    item.known_links = {"a": 3, "b": None}

    (there,) = crossing.there(item)

    assert there.content == item.content
    assert type(there.content) is Wheel
    assert (there.extra_data, there.known_links, there.saved) == (
        {"note": [1, None]},
        {"a": 3, "b": None},
        False,
    )
    assert [each.artifact for each in there.d_artifacts] == states
    assert [type(each.artifact) for each in there.d_artifacts] == [
        Artifact,
        Artifact,
        StagedArtifact,
        StoredArtifact,
    ]
    assert [each.deferred_download for each in there.d_artifacts] == [False, True, False, False]
    assert there.d_artifacts[1].urls == ["https://host/1", "https://host/2"]
    assert there.d_artifacts[0].extra_data == {"headers": {"A": "b"}}
    (alternate,) = there.d_artifacts[0].alternates
    assert alternate.urls == ["https://mirror/a"]
    assert alternate.remote is not None
    assert alternate.remote.token == "token"
    sent = there.d_artifacts[0].remote
    assert sent is not None
    assert (sent.name, sent.username, sent.password) == ("upstream", "user", "secret")
    assert sent.headers == [("X-A", "b")]
    assert all(each.remote is sent for each in there.d_artifacts)


@pytest.mark.parametrize(("allowed", "workers", "share"), [(16, 2, 8), (5, 2, 2)])
def test_each_worker_gets_its_share_of_a_remote(
    tmp_path: Path, allowed: int, workers: int, share: int
) -> None:
    own = remote(download_concurrency=allowed)

    (there,) = Crossing(tmp_path, workers).there(
        DeclarativeContent(Wheel(name="w"), [declared(remote=own)])
    )

    assert there.d_artifacts[0].remote is not None
    assert there.d_artifacts[0].remote.download_concurrency == share
    assert own.download_concurrency == allowed


def test_what_did_not_change_is_left_alone(crossing: Crossing) -> None:
    item = DeclarativeContent(
        Wheel(name="w"), [declared(extra_data={"a": ("tuple",)})], {"b": (1,)}
    )
    parts = (item.content, item.extra_data, item.d_artifacts[0], item.d_artifacts[0].artifact)
    own = item.d_artifacts[0].remote

    (there,) = crossing.there(item)
    (back,) = crossing.back(there)

    assert back is item
    assert (
        item.content,
        item.extra_data,
        item.d_artifacts[0],
        item.d_artifacts[0].artifact,
    ) == parts
    assert item.extra_data == {"b": (1,)}
    assert item.d_artifacts[0].extra_data == {"a": ("tuple",)}
    assert item.d_artifacts[0].remote is own


def test_what_changed_is_written_into_the_same_objects(crossing: Crossing) -> None:
    first, second, third = (declared(relative_path=path) for path in "abc")
    item = DeclarativeContent(Wheel(name="w"), [first, second, third], {"deep": {"list": [1]}})
    staged = StagedArtifact(size=3, sha256=SHA, blake3=BLAKE, file="/staged")

    (there,) = crossing.there(item)
    there.content = Wheel(name="w", tags=("new",))
    there.extra_data["deep"]["list"].append(2)
    there.saved = True
    there.d_artifacts[1].artifact = staged
    there.d_artifacts[2].urls = ["https://host/other"]
    there.d_artifacts[2].alternates = [Source(remote("new"), ["https://new/c"])]
    there.d_artifacts = [there.d_artifacts[2], there.d_artifacts[1], declared(relative_path="d")]
    (back,) = crossing.back(there)

    assert back is item
    assert (item.content, item.saved) == (Wheel(name="w", tags=("new",)), True)
    assert item.extra_data == {"deep": {"list": [1, 2]}}
    assert item.d_artifacts[:2] == [third, second]
    assert item.d_artifacts[2].relative_path == "d"
    assert second.artifact == staged
    assert third.urls == ["https://host/other"]
    (alternate,) = third.alternates
    assert alternate.remote is not None
    assert alternate.remote.name == "new"


def test_new_items_are_made_and_order_is_that_of_the_worker(crossing: Crossing) -> None:
    items = [DeclarativeContent(Wheel(name=name)) for name in "abc"]

    there = crossing.there(*items)
    new = DeclarativeContent(Wheel(name="new"), [declared(remote=remote("new"))], {"x": 1})
    back = crossing.back(there[2], new, there[0], order=[2, -1, 0])

    assert (back[0], back[2]) == (items[2], items[0])
    assert (back[1].content, back[1].extra_data) == (Wheel(name="new"), {"x": 1})
    assert back[1].d_artifacts[0].relative_path == "a"


def test_what_was_declared_crosses_so_that_the_id_is_the_same(
    crossing: Crossing, tmp_path: Path
) -> None:
    found = StagedArtifact(size=3, sha256=SHA, blake3=BLAKE, file=f"{tmp_path}/staged")
    first, second = declared(Artifact(sha512="12" * 64)), declared(Artifact(), relative_path="b")
    item = DeclarativeContent(Wheel(name="w"), [first, second])
    first.artifact = found
    before = item.content_id

    (there,) = crossing.there(item)
    new = declared(Artifact(sha384="34" * 48), relative_path="c")
    assert there.content_id == before
    there.d_artifacts[1].artifact = Artifact(sha512="56" * 64)
    for each in (*there.d_artifacts, new):
        each.artifact = found
    there.d_artifacts.append(new)
    (back,) = crossing.back(there)

    assert back is item
    assert [each.as_declared for each in item.d_artifacts] == [
        Artifact(sha512="12" * 64),
        Artifact(sha512="56" * 64),
        Artifact(sha384="34" * 48),
    ]
    assert all(each.artifact == found for each in item.d_artifacts)
    assert item.content_id == there.content_id != before


def test_bodies_become_files_of_the_run(crossing: Crossing, tmp_path: Path) -> None:
    (there,) = crossing.there(DeclarativeContent(Wheel(name="w"), [declared()]))
    there.d_artifacts[0].artifact = StagedArtifact(size=4, sha256=SHA, blake3=BLAKE, body=b"body")

    (back,) = crossing.back(there)

    artifact = back.d_artifacts[0].artifact
    assert isinstance(artifact, StagedArtifact)
    assert artifact.body is None
    assert artifact.file is not None
    assert Path(artifact.file).parent == tmp_path
    assert Path(artifact.file).read_bytes() == b"body"


def test_a_failure_that_stays_with_its_item_crosses_with_its_attributes(
    crossing: Crossing,
) -> None:
    (there,) = crossing.there(DeclarativeContent(Wheel(name="w"), [declared()]))
    there.failure = DigestMismatchError("https://host/a", "sha256", "ab", "cd")

    (back,) = crossing.back(there)

    assert isinstance(back.failure, DigestMismatchError)
    assert (back.failure.expected, back.failure.found) == ("ab", "cd")


def test_content_of_a_local_class_is_refused_by_name(crossing: Crossing) -> None:
    class Local(Content):
        natural_key = ("name",)
        name: str

    with pytest.raises(CannotCrossError, match=r"<locals>\.Local cannot be sent to worker"):
        crossing.there(DeclarativeContent(Local(name="l")))


def test_content_of_the_main_script_is_refused_by_name(crossing: Crossing) -> None:
    kind = msgspec.defstruct("Scripted", [("name", str)], bases=(Content,), module="__main__")

    with pytest.raises(CannotCrossError, match=r"Scripted .* defined in the main script"):
        crossing.there(DeclarativeContent(cast(Content, kind(name="s"))))


def test_a_field_that_cannot_be_encoded_is_named(crossing: Crossing) -> None:
    with pytest.raises(CannotCrossError, match=r"codecs:Pair cannot .*: 'other': .*object"):
        crossing.there(DeclarativeContent(Pair(name="p", other=object())))


def test_extra_data_that_cannot_be_encoded_is_named(crossing: Crossing) -> None:
    item = DeclarativeContent(Wheel(name="w"), [declared(extra_data={"hook": print})])

    with pytest.raises(CannotCrossError, match=r"DeclarativeArtifact\('a'.*'hook': .*builtin"):
        crossing.there(item)


def test_fields_that_do_not_fit_their_types_are_refused_by_name(crossing: Crossing) -> None:
    item = DeclarativeContent(Wheel(name="w", tags=cast(Any, [1])))

    with pytest.raises(CannotCrossError, match=r"codecs:Wheel cannot be read .*Expected `str`"):
        crossing.there(item)
