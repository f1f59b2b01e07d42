"""Artifact stages on a real store, a real catalog and a real upstream."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from flowsync import (
    Artifact,
    DeclarativeContent,
    DeclarativeVersion,
    DigestPolicy,
    Engine,
    NewVersion,
    QueryExistingArtifacts,
    Repository,
    Stage,
    StoredArtifact,
)
from flowsync.errors import AllSourcesFailedError, DigestMismatchError, UnsupportedDigestError
from tests.integration.stages.conftest import Given, declare, declare_artifact, remote, sync
from tests.upstream.behaviours import Hold, Status
from tests.upstream.server import Upstream


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 4096, 128 * 1024, 128 * 1024 + 1, 3_000_000])
async def test_a_body_of_any_size_is_stored_with_its_digests(
    size: int, engine: Engine, upstream: Upstream
) -> None:
    """Small bodies are hashed inline, large ones in a worker process (ruling 8); both end up the
    same.
    """
    body = bytes(index % 251 for index in range(size))
    url = upstream.put("/body", body)
    expected = Artifact(sha512=hashlib.sha512(body).hexdigest(), size=size)
    item = declare("one", declare_artifact(remote(), url, path="body", artifact=expected))

    await sync(engine, [item]).acreate()

    stored = item.d_artifacts[0].artifact
    assert isinstance(stored, StoredArtifact)
    assert (stored.size, stored.sha256, stored.sha512) == (size, sha256(body), expected.sha512)
    with stored.open() as file:
        assert file.read() == body


async def test_artifacts_of_one_content_are_downloaded_at_once(
    engine: Engine, upstream: Upstream
) -> None:
    """Fact 12."""
    urls = [upstream.put(f"/part-{number}", b"part %d" % number) for number in range(2)]
    items = [
        declare("two", *(declare_artifact(remote(), url, path=url[-6:]) for url in urls)),
        declare("none"),
    ]

    declarative = sync(engine, items)
    await declarative.acreate()

    assert declarative.result is not None
    assert (declarative.result.downloaded, declarative.result.present) == (2, 2)


async def test_a_stored_artifact_is_not_downloaded_again(
    engine: Engine, upstream: Upstream
) -> None:
    """Fact 19 and section 3.1: any digest that the catalog knows is enough."""
    url = upstream.put("/body", b"body")
    first = declare("one", declare_artifact(remote(), url, path="body"))
    await sync(engine, [first]).acreate()
    known = Artifact(sha256=sha256(b"body"))

    second = declare("two", declare_artifact(remote(), url, path="body", artifact=known))
    await sync(engine, [second], name="other").acreate()

    assert upstream.count("/body") == 1
    assert second.d_artifacts[0].artifact == first.d_artifacts[0].artifact


async def test_a_local_file_is_copied_and_never_moved(engine: Engine, tmp_path: Path) -> None:
    """Fact 18: an artifact with a file is not downloaded; section 2.1: it needs no remote."""
    file = tmp_path / "mine.bin"
    file.write_bytes(b"my bytes")
    artifact = Artifact(file=str(file), sha256=sha256(b"my bytes"))
    item = declare(
        "one", declare_artifact(None, "http://localhost/x", path="mine", artifact=artifact)
    )

    version = await sync(engine, [item]).acreate()

    assert version is not None
    assert file.read_bytes() == b"my bytes"
    stored = item.d_artifacts[0].artifact
    assert isinstance(stored, StoredArtifact)
    with stored.open() as copy:
        assert copy.read() == b"my bytes"


async def test_a_local_file_with_a_wrong_digest_is_refused(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "mine.bin"
    file.write_bytes(b"my bytes")
    artifact = Artifact(file=str(file), sha256=sha256(b"other bytes"))
    item = declare(
        "one", declare_artifact(None, "http://localhost/x", path="mine", artifact=artifact)
    )

    with pytest.raises(DigestMismatchError, match=r"mine\.bin"):
        await sync(engine, [item]).acreate()

    assert (await engine.store.usage()).blobs == 0


async def test_all_urls_are_tried_in_turn(engine: Engine, upstream: Upstream) -> None:
    """Section 2.1: any failure moves on to the next URL."""
    good = upstream.put("/good", b"body")
    bad = upstream.put("/bad", b"evil")
    item = declare(
        "one",
        declare_artifact(
            remote(),
            upstream.url("/missing"),
            bad,
            good,
            path="body",
            artifact=Artifact(sha256=sha256(b"body")),
        ),
    )

    version = await sync(engine, [item]).acreate()

    assert version is not None
    assert [seen.target for seen in upstream.requests()] == ["/missing", "/bad", "/good"]


async def test_when_all_urls_fail_the_error_lists_every_one_with_its_reason(
    engine: Engine, upstream: Upstream
) -> None:
    upstream.put("/teapot", b"")
    upstream.script("/teapot", Status(418))
    item = declare(
        "one",
        declare_artifact(remote(), upstream.url("/missing"), upstream.url("/teapot"), path="body"),
    )

    with pytest.raises(AllSourcesFailedError) as caught:
        await sync(engine, [item]).acreate()

    text = str(caught.value)
    assert "/missing: status 404" in text
    assert "/teapot: status 418" in text


async def test_only_forbidden_digests_refuse_a_download(engine: Engine, upstream: Upstream) -> None:
    """Section 3.1 and fact 34: md5 alone may not vouch for bytes."""
    url = upstream.put("/body", b"body")
    weak = Artifact(md5=hashlib.md5(b"body").hexdigest())

    with pytest.raises(UnsupportedDigestError, match="md5"):
        await sync(
            engine, [declare("one", declare_artifact(remote(), url, path="body", artifact=weak))]
        ).acreate()

    assert upstream.count() == 0


class Unasked(DeclarativeVersion):
    """A sync that does not look for what is stored, and so checks no digest before it fetches."""

    def pipeline_stages(self, new_version: NewVersion) -> list[Stage]:
        stages = super().pipeline_stages(new_version)
        return [stage for stage in stages if not isinstance(stage, QueryExistingArtifacts)]


async def test_only_forbidden_digests_refuse_a_download_in_every_pipeline(
    engine: Engine, upstream: Upstream
) -> None:
    url = upstream.put("/body", b"body")
    weak = Artifact(md5=hashlib.md5(b"body").hexdigest())
    items = [declare("one", declare_artifact(remote(), url, path="body", artifact=weak))]

    with pytest.raises(UnsupportedDigestError, match="body: only md5 declared"):
        await Unasked(Given(items), Repository(name="things"), engine=engine).acreate()

    assert upstream.count() == 0


async def test_a_forbidden_digest_beside_an_allowed_one_is_ignored(
    engine: Engine, upstream: Upstream
) -> None:
    """Fact 36: mixed digests are accepted; the forbidden one is neither checked nor kept."""
    url = upstream.put("/body", b"body")
    mixed = Artifact(md5="0" * 32, sha256=sha256(b"body"))
    item = declare("one", declare_artifact(remote(), url, path="body", artifact=mixed))

    await sync(engine, [item]).acreate()

    assert item.d_artifacts[0].artifact.md5 is None


async def test_a_policy_that_allows_md5_verifies_and_keeps_it(
    conninfo: str, tmp_path: Path, upstream: Upstream
) -> None:
    policy = DigestPolicy(allowed=frozenset({"sha256", "md5"}))
    url = upstream.put("/body", b"body")
    right = Artifact(md5=hashlib.md5(b"body").hexdigest())
    wrong = Artifact(md5="0" * 32)

    async with Engine(tmp_path / "own", database_url=conninfo, digest_policy=policy) as engine:
        item = declare("one", declare_artifact(remote(), url, path="body", artifact=right))
        await sync(engine, [item]).acreate()
        with pytest.raises(DigestMismatchError, match=f"md5 is {right.md5}, expected {wrong.md5}"):
            await sync(
                engine, [declare("two", declare_artifact(remote(), url, path="b", artifact=wrong))]
            ).acreate()

    assert item.d_artifacts[0].artifact.md5 == right.md5


async def test_a_tight_budget_slows_a_sync_down_and_never_stops_it(
    conninfo: str, tmp_path: Path, upstream: Upstream
) -> None:
    """Section 3.5, facts 27 to 30: less budget than one batch, and bodies larger than all of it."""
    items = [
        declare(
            str(number),
            declare_artifact(
                remote(),
                upstream.put(f"/{number}", bytes([number]) * 5000),
                path=f"body-{number}",
                artifact=Artifact(size=5000),
            ),
        )
        for number in range(40)
    ]

    async with Engine(
        tmp_path / "own", database_url=conninfo, in_flight_bytes=4000, in_flight_items=7
    ) as engine:
        version = await sync(engine, items).acreate()
        in_flight = (engine.budget.size_in_flight, engine.budget.items_in_flight)

    assert version is not None
    assert version.present == 40
    assert in_flight == (0, 0)


async def test_syncs_at_once_with_a_tight_budget_do_not_wait_for_each_other_for_ever(
    conninfo: str, tmp_path: Path, upstream: Upstream
) -> None:
    """One that saves keeps the others from saving less than it might be worth, and each holds a
    part of what all wait for.
    """

    def items(of: int) -> list[DeclarativeContent]:
        urls = {
            name: upstream.put(f"/{name}", name.encode())
            for name in (f"{of}-{number}" for number in range(30))
        }
        return [
            declare(name, declare_artifact(remote(), url, path=name)) for name, url in urls.items()
        ]

    async with Engine(tmp_path / "own", database_url=conninfo, in_flight_items=7) as engine:
        versions = await asyncio.gather(
            *(sync(engine, items(number), name=f"things-{number}").acreate() for number in range(6))
        )
        in_flight = engine.budget.items_in_flight

    assert [version and version.present for version in versions] == [30] * 6
    assert in_flight == 0


async def test_a_failed_sync_gives_its_share_of_the_budget_back(
    engine: Engine, upstream: Upstream
) -> None:
    items = [
        declare(
            str(number),
            declare_artifact(
                remote(),
                upstream.put(f"/{number}", b"body"),
                path="body",
                artifact=Artifact(size=4, sha256=sha256(b"body" if number else b"evil")),
            ),
        )
        for number in range(20)
    ]

    with pytest.raises(DigestMismatchError):
        await sync(engine, items).acreate()

    assert (engine.budget.size_in_flight, engine.budget.items_in_flight) == (0, 0)


async def test_contents_of_several_artifacts_do_not_wait_for_each_others_budget(
    conninfo: str, tmp_path: Path, upstream: Upstream
) -> None:
    """Symptom: with one lease an artifact, half-served contents held all of the budget and none
    could be finished.
    """
    items = [
        declare(
            str(number),
            *(
                declare_artifact(
                    remote(),
                    upstream.put(f"/{number}/{part}", b"%d-%d" % (number, part)),
                    path=f"{number}/{part}",
                )
                for part in range(3)
            ),
        )
        for number in range(30)
    ]

    async with Engine(tmp_path / "own", database_url=conninfo, in_flight_items=4) as engine:
        version = await sync(engine, items).acreate()

    assert version is not None
    assert version.present == 30


@pytest.mark.parametrize("size", [4096, 300_000])
async def test_same_digest_wanted_twice_is_fetched_once(
    size: int, engine: Engine, upstream: Upstream
) -> None:
    """Over two syncs of one engine, and within each of them."""
    body = bytes(index % 251 for index in range(size))
    url = upstream.put("/body", body)
    upstream.script("/body", Hold())
    declared = Artifact(sha256=sha256(body), size=size)
    items = [
        [declare(name, declare_artifact(remote(name), url, path=name, artifact=declared))]
        for name in ("one", "two")
    ]
    items[0].append(
        declare("three", declare_artifact(remote("one"), url, path="3", artifact=declared))
    )

    async with asyncio.TaskGroup() as group:
        for index, given in enumerate(items):
            group.create_task(sync(engine, given, name=f"things-{index}").acreate())
        await asyncio.to_thread(upstream.wait_for, 1)
        upstream.release()

    assert upstream.count("/body") == 1
    assert (await engine.store.usage()).blobs == 1
    for given in items:
        for item in given:
            stored = item.d_artifacts[0].artifact
            assert isinstance(stored, StoredArtifact)
            with stored.open() as file:
                assert file.read() == body
