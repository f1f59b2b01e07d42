"""What a download that failed for good means: fail, skip, defer; and how much may be left out or
removed.
"""

import pytest

from flowsync import Engine
from flowsync.errors import DigestMismatchError, MassRemovalError, StatusError, TooManyLeftOutError
from tests.integration.stages.conftest import declare, declare_artifact, remote, sync
from tests.integration.stages.test_content_stages import Awaiting
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.behaviours import Change, Status
from tests.upstream.server import Upstream

FILES = {"a": b"one", "b": b"two", "c": b"three"}


async def test_fail_is_the_default(upstream: Upstream, publish: Publish, file_sync: Sync) -> None:
    url = publish(FILES)
    upstream.script("/b", Status(403))

    with pytest.raises(StatusError, match="403"):
        await file_sync(url).acreate()


async def test_a_mirror_is_not_emptied_by_an_empty_manifest(
    engine: Engine, publish: Publish, file_sync: Sync
) -> None:
    """However small it is; whoever means it says so."""
    await file_sync(publish(FILES), mirror=True).acreate()
    url = publish({})

    plan = await file_sync(url, mirror=True).aplan()
    with pytest.raises(MassRemovalError, match=r"would remove 3 of 3 units.*max_removal"):
        await file_sync(url, mirror=True).acreate()
    kept = await paths(engine)
    version = await file_sync(url, mirror=True, max_removal=1.0).acreate()

    assert plan.refusal is not None
    assert set(kept) == set(FILES)
    assert version is not None
    assert (version.removed, version.present) == (3, 0)


async def test_a_small_mirror_may_change_wholly(publish: Publish, file_sync: Sync) -> None:
    await file_sync(publish({"a-1": b"one"}), mirror=True).acreate()

    version = await file_sync(publish({"a-2": b"two"}), mirror=True).acreate()

    assert version is not None
    assert (version.added, version.removed) == (1, 1)


async def test_skip_leaves_the_unit_out_and_says_why(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish(FILES)
    upstream.script("/b", Status(403))

    declarative = file_sync(url, on_error="skip")
    version = await declarative.acreate()

    assert version is not None
    assert await paths(engine) == {"a": True, "c": True}
    assert declarative.result is not None
    (left_out,) = declarative.result.left_out
    assert (left_out.relative_path, left_out.action) == ("b", "skipped")
    assert left_out.url == upstream.url("/b")
    assert "403" in left_out.reason
    assert version.info["left_out"][0]["relative_path"] == "b"


async def test_what_was_skipped_is_tried_again_by_the_next_sync(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    """The manifest has not changed, but the sync before did not get all of it."""
    url = publish(FILES)
    upstream.script("/b", Status(403))
    await file_sync(url, on_error="skip").acreate()

    version = await file_sync(url, on_error="skip").acreate()

    assert version is not None
    assert (version.added, await paths(engine)) == (1, dict.fromkeys(FILES, True))


async def test_defer_keeps_the_unit_without_its_bytes(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish(FILES)
    upstream.script("/b", Change(b"evil"))

    declarative = file_sync(url, on_error="defer")
    await declarative.acreate()

    assert await paths(engine) == {"a": True, "b": False, "c": True}
    assert declarative.result is not None
    (left_out,) = declarative.result.left_out
    assert (left_out.relative_path, left_out.action) == ("b", "deferred")
    assert "expected" in left_out.reason


async def test_a_mirror_keeps_what_a_skipped_unit_would_have_replaced(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish(FILES), mirror=True).acreate()
    url = publish({"a": b"ONE", "b": b"TWO"})
    upstream.script("/b", Status(404))

    version = await file_sync(url, mirror=True, on_error="skip").acreate()

    assert version is not None
    assert (version.added, version.removed) == (1, 2)
    assert set(await paths(engine)) == {"a", "b"}
    assert await sha256_of_b(engine, 1) == await sha256_of_b(engine, 2)


async def sha256_of_b(engine: Engine, number: int) -> list[str | None]:
    entries = engine.catalog.repositories.entries("files", number, "b")
    return [entry.sha256 async for batch in entries for entry in batch]


async def test_too_many_left_out_fail_the_sync(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish(FILES)
    for path in FILES:
        upstream.script(f"/{path}", Status(404))

    with pytest.raises(TooManyLeftOutError, match="more than 2"):
        await file_sync(url, on_error="skip", max_errors=2).acreate()

    assert (await engine.catalog.repositories.version("files")).number == 0


async def test_who_awaits_a_skipped_unit_gets_its_failure(
    engine: Engine, upstream: Upstream
) -> None:
    url = upstream.put("/body", b"body")
    upstream.script("/body", Status(404))
    item = declare("one", declare_artifact(remote(), url, path="body"))
    stage = Awaiting([item], late=False)

    declarative = sync(engine, [], on_error="skip")
    declarative.first_stage = stage
    with pytest.raises(StatusError, match="404"):
        await declarative.acreate()

    with pytest.raises(StatusError):
        await item.resolution()


async def test_a_mirror_that_would_lose_most_of_its_units_stops_and_says_how_to_go_on(
    engine: Engine,
) -> None:
    await sync(engine, [declare(str(number)) for number in range(150)]).acreate()
    few = [declare(str(number)) for number in range(70)]

    with pytest.raises(MassRemovalError, match=r"80 of 150 units.*50%.*max_removal"):
        await sync(engine, few, mirror=True).acreate()
    assert (await engine.catalog.repositories.version("things")).present == 150

    version = await sync(engine, few, mirror=True, max_removal=1.0).acreate()
    assert version is not None
    assert version.present == 70


async def test_a_mirror_may_lose_half_of_its_units(engine: Engine) -> None:
    await sync(engine, [declare(str(number)) for number in range(150)]).acreate()

    version = await sync(
        engine, [declare(str(number)) for number in range(75)], mirror=True
    ).acreate()

    assert version is not None
    assert version.removed == 75


async def test_a_wrong_body_is_reported_with_expected_and_found(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish(FILES)
    upstream.script("/c", Change(b"threw"))

    with pytest.raises(DigestMismatchError) as caught:
        await file_sync(url).acreate()

    expected = "8b5b9db0c13db24256c829aa364aa90c6d2eba318b9232a4ab9313b954d3555f"
    assert (caught.value.algorithm, caught.value.expected) == ("sha256", expected)
    assert caught.value.found in str(caught.value)
