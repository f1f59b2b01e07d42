"""What is wrong with one unit is that unit's failure, whichever stage finds it."""

import hashlib
from pathlib import Path

import pytest

from flowsync import Artifact, DeclarativeContent, Engine, FlowsyncError
from flowsync.errors import SizeMismatchError, TransferError, UnsupportedDigestError
from tests.integration.stages.conftest import declare, declare_artifact, remote, sync
from tests.integration.sync.conftest import paths
from tests.upstream.server import Upstream

BODY = b"body"
SHA256 = hashlib.sha256(BODY).hexdigest()


def only_sha1(upstream: Upstream, *, deferred: bool = False) -> DeclarativeContent:
    artifact = Artifact(sha1=hashlib.sha1(BODY).hexdigest())
    url = upstream.put("/sha1", BODY)
    declared = declare_artifact(
        remote(), url, path="bad", artifact=artifact, deferred_download=deferred
    )
    return declare("bad", declared)


def contradicting(upstream: Upstream) -> DeclarativeContent:
    url = upstream.put("/stored", BODY)
    artifact = Artifact(sha256=SHA256, size=5)
    return declare("bad", declare_artifact(remote(), url, path="bad", artifact=artifact))


def absent(tmp_path: Path) -> DeclarativeContent:
    artifact = Artifact(file=str(tmp_path / "absent"))
    declared = declare_artifact(None, "http://localhost/x", path="bad", artifact=artifact)
    return declare("bad", declared)


def other_bytes(tmp_path: Path) -> DeclarativeContent:
    (tmp_path / "local").write_bytes(b"other")
    artifact = Artifact(file=str(tmp_path / "local"), sha256="b" * 64)
    declared = declare_artifact(remote(), "http://localhost/x", path="bad", artifact=artifact)
    return declare("bad", declared)


def good(upstream: Upstream) -> DeclarativeContent:
    url = upstream.put("/good", BODY)
    artifact = Artifact(sha256=SHA256, size=4)
    return declare("good", declare_artifact(remote(), url, path="good", artifact=artifact))


def bad(kind: str, upstream: Upstream, tmp_path: Path) -> DeclarativeContent:
    if kind == "contradicting":
        return contradicting(upstream)
    if kind == "absent":
        return absent(tmp_path)
    if kind == "other bytes":
        return other_bytes(tmp_path)
    return only_sha1(upstream, deferred=kind == "deferred sha1")


KINDS: dict[str, tuple[type[FlowsyncError], str, bool]] = {
    "sha1": (UnsupportedDigestError, "only sha1 declared", False),
    "deferred sha1": (UnsupportedDigestError, "only sha1 declared", False),
    "contradicting": (SizeMismatchError, "size is 4 bytes, expected 5", True),
    "absent": (TransferError, "cannot be read: No such file", False),
    "other bytes": (FlowsyncError, "expected", True),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", ["skip", "defer"])
async def test_a_unit_that_cannot_be_verified_is_left_out_alone(
    engine: Engine, upstream: Upstream, tmp_path: Path, kind: str, policy: str
) -> None:
    _, reason, can_come_later = KINDS[kind]
    await sync(engine, [good(upstream)], name="before").acreate()
    items = [bad(kind, upstream, tmp_path), good(upstream)]

    declarative = sync(engine, items, mirror=True, on_error=policy)
    await declarative.acreate()

    deferred = policy == "defer" and can_come_later
    assert await paths(engine, "things") == {"good": True, **({"bad": False} if deferred else {})}
    assert declarative.result is not None
    (left_out,) = declarative.result.left_out
    assert (left_out.relative_path, left_out.action) == (
        "bad",
        "deferred" if deferred else "skipped",
    )
    assert reason in left_out.reason


@pytest.mark.parametrize("kind", KINDS)
async def test_it_fails_a_sync_that_must_not_go_on(
    engine: Engine, upstream: Upstream, tmp_path: Path, kind: str
) -> None:
    expected, reason, _ = KINDS[kind]
    await sync(engine, [good(upstream)], name="before").acreate()

    with pytest.raises(expected, match=reason):
        await sync(engine, [bad(kind, upstream, tmp_path), good(upstream)]).acreate()

    assert (await engine.catalog.repositories.version("things")).number == 0


async def test_workers_leave_alone_what_has_failed_already(
    conninfo: str, upstream: Upstream, tmp_path: Path
) -> None:
    async with Engine(tmp_path / "home", database_url=conninfo, workers=1) as engine:
        items = [only_sha1(upstream), good(upstream)]

        declarative = sync(engine, items, on_error="skip")
        await declarative.acreate()

        assert await paths(engine, "things") == {"good": True}
    assert upstream.count("/sha1") == 0


async def test_a_mirror_keeps_the_old_unit_in_place_of_the_failed_one(
    engine: Engine, upstream: Upstream
) -> None:
    """And its plan foretells that."""
    old = declare("bad", declare_artifact(remote(), upstream.put("/old", b"old"), path="bad"))
    await sync(engine, [old, declare("gone")]).acreate()
    items = [only_sha1(upstream), good(upstream)]

    plan = await sync(engine, items, mirror=True, on_error="skip").aplan()
    version = await sync(engine, items, mirror=True, on_error="skip").acreate()

    assert version is not None
    assert (version.added, version.removed, version.present) == (1, 1, 2)
    assert (plan.added, plan.removed, plan.root) == (1, 1, version.root)
