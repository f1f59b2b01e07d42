"""What a version holds stays what it is, whatever is declared of the same natural keys later, here
or for another repository.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from blake3 import blake3

from flowsync import (
    Artifact,
    Content,
    DeclarativeArtifact,
    DeclarativeContent,
    DeclarativeVersion,
    Engine,
    Policy,
    Remote,
    Repository,
    RepositoryVersion,
    Stage,
    export_version,
    prune,
    reclaim,
    verify,
)
from flowsync.errors import DuplicateContentError
from flowsync.serve.app import ContentServer, ServerLimits
from flowsync.sources.file import FileContent
from tests.integration.serve.conftest import Client
from tests.upstream.behaviours import Status
from tests.upstream.server import Upstream


class Package(Content):
    """A unit whose natural key fixes neither bytes nor path."""

    type_name: ClassVar[str] = "test.package"
    natural_key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    summary: str = ""


class Given(Stage):
    def __init__(self, remote: Remote, items: Sequence[DeclarativeContent]) -> None:
        self.remote = remote
        self._items = items

    async def run(self) -> None:
        await self.put_all(list(self._items))


class Publisher:
    """Declares units whose bytes are upstream, and syncs them."""

    def __init__(self, engine: Engine, upstream: Upstream) -> None:
        self.engine = engine
        self.upstream = upstream
        self.remote = Remote(name="upstream", url=upstream.url(), max_retries=0)

    def unit(
        self,
        content: Content,
        body: bytes,
        *,
        path: str = "pool/a",
        url: str = "/a",
        digest: bool = True,
        deferred: bool = False,
        **options: Any,
    ) -> DeclarativeContent:
        known: dict[str, Any] = (
            {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)} if digest else {}
        )
        artifact = DeclarativeArtifact(
            Artifact(**known),
            url=self.upstream.put(url, body),
            relative_path=path,
            remote=self.remote,
            deferred_download=deferred,
            **options,
        )
        return DeclarativeContent(content, [artifact])

    async def sync(
        self, *items: DeclarativeContent, name: str = "r", **options: Any
    ) -> RepositoryVersion | None:
        stage = Given(self.remote, items)
        return await DeclarativeVersion(
            stage, Repository(name=name), engine=self.engine, **options
        ).acreate()

    async def export(self, folder: Path, number: int, name: str = "r") -> dict[str, bytes]:
        await export_version(self.engine, name, folder, number)
        return {
            str(file.relative_to(folder)): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file() and not file.name.startswith(".")
        }


@pytest.fixture
def publisher(engine: Engine, upstream: Upstream) -> Publisher:
    return Publisher(engine, upstream)


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("digest", [True, False])
async def test_unit_that_is_declared_again_with_other_bytes_leaves_old_versions_alone(
    publisher: Publisher, tmp_path: Path, mirror: bool, digest: bool
) -> None:
    """Symptom: the stored unit got the new bytes, in all versions, and no version was made."""
    unit = Package("a")
    await publisher.sync(publisher.unit(unit, b"one", digest=digest), mirror=mirror)

    version = await publisher.sync(publisher.unit(unit, b"two", digest=digest), mirror=mirror)

    assert version is not None
    assert (version.number, version.added, version.removed) == (2, 1, 1)
    assert await publisher.export(tmp_path / "1", 1) == {"pool/a": b"one"}
    assert await publisher.export(tmp_path / "2", 2) == {"pool/a": b"two"}


async def test_fields_beyond_the_key_that_changed_make_a_version(publisher: Publisher) -> None:
    """Symptom: they were ignored without a word."""
    await publisher.sync(publisher.unit(Package("a", "one"), b"one"))

    version = await publisher.sync(publisher.unit(Package("a", "two"), b"one"))
    again = await publisher.sync(publisher.unit(Package("a", "two"), b"one"))

    assert version is not None
    assert (version.added, version.removed, version.present) == (1, 1, 1)
    assert again is None


async def test_another_path_in_another_repository_is_no_error(
    publisher: Publisher, tmp_path: Path
) -> None:
    """Symptom: "the stored unit has no artifact at that path", for ever."""
    file = FileContent(relative_path="a", sha256=hashlib.sha256(b"one").hexdigest())
    for unit in (Package("a"), file):
        await publisher.sync(publisher.unit(unit, b"one", path="here/a"), name="one")
        await publisher.sync(publisher.unit(unit, b"one", path="there/a"), name="two")
        await publisher.sync(publisher.unit(unit, b"one", path="a"), name="three")

        number = (await publisher.engine.catalog.repositories.version("one")).number
        for name, path in (("one", "here/a"), ("two", "there/a"), ("three", "a")):
            found = await publisher.export(tmp_path / f"{name}{number}", number, name)
            assert found == {path: b"one"}
        for name in ("one", "two", "three"):
            await publisher.sync(name=name, mirror=True, max_removal=1)


async def test_two_declarations_of_one_key_in_a_sync_are_an_error_that_names_both(
    publisher: Publisher,
) -> None:
    one = publisher.unit(Package("a"), b"one", path="one", url="/1")
    two = publisher.unit(Package("a"), b"two", path="two", url="/2")

    with pytest.raises(DuplicateContentError, match=r"'one' and 'two'|'two' and 'one'"):
        await publisher.sync(one, two)


async def test_files_keep_the_ids_that_they_had(publisher: Publisher) -> None:
    """Whatever the policy, and whether the bytes are here or not: the second sync changes
    nothing.
    """
    file = FileContent(relative_path="a", sha256=hashlib.sha256(b"one").hexdigest())
    first = publisher.unit(file, b"one", path="a", deferred=True)
    second = publisher.unit(file, b"one", path="a")

    assert await publisher.sync(first) is not None
    assert await publisher.sync(second) is None
    assert first.content_id == second.content_id


@pytest.mark.parametrize("digest", [True, False])
async def test_plan_comes_to_what_the_sync_comes_to(publisher: Publisher, digest: bool) -> None:
    await publisher.sync(publisher.unit(Package("a", "one"), b"one"))
    item = publisher.unit(Package("a", "two"), b"two", deferred=True, digest=digest)

    async def declare() -> DeclarativeVersion:
        stage = Given(publisher.remote, [item])
        return DeclarativeVersion(stage, Repository(name="r"), engine=publisher.engine)

    plan = await (await declare()).aplan()
    version = await (await declare()).acreate()

    assert version is not None
    assert (plan.added, plan.removed, plan.root) == (1, 1, version.root)


# --- what was never declared -----------------------------------------------------------------


async def serve(
    engine: Engine, number: int, name: str = "r", limits: ServerLimits | None = None
) -> bytes | int:
    """Return what a client gets, or the status of the answer, when nothing is fetched any more."""
    async with ContentServer(engine, limits=limits) as server:
        client = Client(server.addresses[0][1])
        reply = await client.get(f"/{name}@{number}/pool/a")
        # No event of the product's tells this.
        while server.metrics.running_fetches:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return reply.body if reply.status == 200 else reply.status


@pytest.mark.parametrize("policy", ["on_demand", "streamed"])
async def test_bytes_that_were_served_once_are_the_only_ones(
    publisher: Publisher, policy: Policy
) -> None:
    """Nobody declared a digest: the first bytes that a version gave are its bytes, even if they are
    not kept.
    """
    publisher.remote = Remote(
        name="upstream", url=publisher.upstream.url(), policy=policy, max_retries=0
    )
    await publisher.sync(publisher.unit(Package("a"), b"one", digest=False, deferred=True))
    assert await serve(publisher.engine, 1) == b"one"

    await reclaim(publisher.engine, "r", apply=True)
    publisher.upstream.put("/a", b"two")

    assert await serve(publisher.engine, 1) == 502
    entries = publisher.engine.catalog.repositories.entries("r", 1)
    ((entry,),) = [batch async for batch in entries]
    assert (entry.sha256, entry.size) == (hashlib.sha256(b"one").hexdigest(), 3)

    publisher.upstream.put("/a", b"one")
    at_once = ServerLimits(cool_down=0.0)
    assert await serve(publisher.engine, 1, limits=at_once) == b"one"


async def test_two_upstreams_that_declare_no_digest_do_not_share_bytes(
    publisher: Publisher,
) -> None:
    """Symptom: what was fetched for one repository was served for the other."""
    for name, url in (("r", "/one/a"), ("s", "/two/a")):
        unit = publisher.unit(Package("a"), name.encode(), url=url, digest=False, deferred=True)
        await publisher.sync(unit, name=name)

    assert await serve(publisher.engine, 1) == b"r"
    assert await serve(publisher.engine, 1, "s") == b"s"


# --- headers ---------------------------------------------------------------------------------

MANIFEST = {"headers": {"Accept": "application/vnd.oci.image.manifest.v1+json"}}


def asked(upstream: Upstream, path: str = "/a") -> list[str | None]:
    return [seen.headers.get("accept") for seen in upstream.requests(path)]


async def test_repair_and_on_demand_fetches_ask_as_the_sync_did(
    publisher: Publisher, engine: Engine
) -> None:
    """Symptom: they asked without the headers of the artifact, and got something else."""
    secret = {**MANIFEST["headers"], "X-Token": "s3cret"}
    await publisher.sync(publisher.unit(Package("a"), b"one", extra_data={"headers": secret}))
    for blob in (engine.home / "store" / "blake3").glob("*/*"):
        blob.unlink()
    assert (await verify(engine, repair=True)).repaired == 1

    await reclaim(engine, "r", apply=True)
    assert await serve(publisher.engine, 1) == b"one"

    wanted = MANIFEST["headers"]["Accept"]
    assert asked(publisher.upstream) == [wanted, wanted, wanted]
    assert [seen.headers.get("x-token") for seen in publisher.upstream.requests("/a")] == [
        "s3cret", None, None
    ]  # fmt: skip


# --- clean-up by value -----------------------------------------------------------------------


async def test_pruning_a_content_prunes_all_that_is_stored_with_its_key(
    publisher: Publisher, engine: Engine
) -> None:
    for body in (b"one", b"two", b"three"):
        await publisher.sync(publisher.unit(Package("a"), body), mirror=True)
    await publisher.sync(publisher.unit(Package("b"), b"four"), mirror=True)
    for number in (0, 1, 2, 3):
        await engine.catalog.repositories.delete_version("r", number)

    report = await prune(engine, only=[Package("a")], older_than=timedelta(0), apply=True)

    assert report.contents == 3


@pytest.mark.parametrize("mirror", [True, False])
async def test_declared_unit_does_not_replace_another_declared_one(
    publisher: Publisher, mirror: bool
) -> None:
    """Symptom: of two units of one key, each sync took the one that the last one had not."""
    old, new = Package("a", "old"), Package("a", "new")
    await publisher.sync(publisher.unit(old, b"one"), mirror=mirror)

    with pytest.raises(DuplicateContentError, match="exclude each other"):
        await publisher.sync(
            publisher.unit(old, b"one"), publisher.unit(new, b"one"), mirror=mirror
        )

    assert (await publisher.engine.catalog.repositories.version("r")).number == 1


async def test_a_mirror_keeps_what_it_has_of_a_key_whose_new_bytes_cannot_be_had(
    publisher: Publisher, upstream: Upstream, tmp_path: Path
) -> None:
    """Also where nobody knows the id of the new unit, because its bytes would tell it."""
    await publisher.sync(
        publisher.unit(Package("a", "old"), b"one"),
        publisher.unit(Package("b"), b"two", path="b", url="/b"),
    )
    failing = publisher.unit(Package("a", "new"), b"three", digest=False, url="/failing")
    upstream.always("/failing", Status(404))

    version = await publisher.sync(failing, mirror=True, on_error="skip")

    assert version is not None
    assert (version.added, version.removed, version.present) == (0, 1, 1)
    assert await publisher.export(tmp_path / "2", 2) == {"pool/a": b"one"}


async def test_what_is_deferred_without_a_digest_is_the_same_unit_next_time(
    publisher: Publisher, upstream: Upstream
) -> None:
    upstream.always("/a", Status(404))
    for expected in (1, None):
        unit = publisher.unit(Package("a"), b"one", digest=False)
        version = await publisher.sync(unit, mirror=True, on_error="defer")
        assert (version and version.number) == expected


async def test_word_of_an_alternate_source_does_not_tell_what_the_bytes_are(
    publisher: Publisher, engine: Engine
) -> None:
    """Symptom: it said which sha256 goes with a sha512; bytes with that were here, and were
    served.
    """
    known = hashlib.sha512(b"one").hexdigest()
    mine = publisher.unit(Package("a"), b"one", digest=False, deferred=True)
    mine.d_artifacts[0].artifact = Artifact(sha512=known)
    await publisher.sync(mine)
    near = Remote(name="near", url=publisher.upstream.url(), max_retries=0)
    await engine.add_alternate_source("near", near)
    publisher.remote = near
    theirs = publisher.unit(Package("near"), b"one", digest=False, deferred=True, url="/near")
    theirs.d_artifacts[0].artifact = Artifact(
        sha512=known, sha256=hashlib.sha256(b"wrong").hexdigest()
    )
    await publisher.sync(theirs, name="near")
    await publisher.sync(publisher.unit(Package("other"), b"wrong", url="/wrong"), name="other")

    assert await serve(engine, 1) == b"one"


async def test_bytes_that_were_declared_by_blake3_alone_are_verified_on_demand(
    publisher: Publisher, engine: Engine
) -> None:
    """Symptom: sources forgot it, so any bytes were right."""
    item = publisher.unit(Package("a"), b"one", digest=False, deferred=True)
    item.d_artifacts[0].artifact = Artifact(blake3=blake3(b"one").hexdigest())
    await publisher.sync(item)
    publisher.upstream.put("/a", b"two")

    assert await serve(engine, 1) == 502
