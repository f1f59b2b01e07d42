"""A stage that opens stored bytes which the store has lost, or cannot read."""

import hashlib
from pathlib import Path

import pytest

from flowsync import Artifact, DeclarativeVersion, Engine, Repository, Stage
from flowsync.errors import BlobMissingError, StoreError
from tests.integration.stages.conftest import declare, declare_artifact, remote
from tests.integration.sync.damage import Damage, make_unreadable, remove
from tests.upstream.server import Upstream

SHA256 = hashlib.sha256(b"[]").hexdigest()


class Opens(Stage):
    """Puts one file and reads it."""

    def __init__(self, url: str) -> None:
        self.remote, self.url = remote(), url
        self.read = b""
        self.opened: Path | None = None

    async def run(self) -> None:
        artifact = Artifact(sha256=SHA256, size=2)
        declared = declare_artifact(self.remote, self.url, path="index", artifact=artifact)
        item = declare("index", declared)
        await self.put(item)
        await item.resolution()
        self.opened = Path(str(declared.artifact.file))
        with declared.artifact.open() as index:
            self.read = index.read()


@pytest.mark.parametrize("how", ["sync", "plan"])
@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (remove, BlobMissingError, "is gone; `flowsync verify --repair` fetches it again"),
        (make_unreadable, StoreError, "Is a directory"),
    ],
)
async def test_it_is_told_which_bytes_are_gone_and_what_brings_them_back(
    engine: Engine, upstream: Upstream, damage: Damage, error: type[StoreError], said: str, how: str
) -> None:
    first, again = [Opens(upstream.put("/index", b"[]")) for _ in range(2)]
    await DeclarativeVersion(first, Repository(name="things"), engine=engine).acreate()
    assert first.read == b"[]"
    assert first.opened is not None
    damage(first.opened)
    sync = DeclarativeVersion(again, Repository(name="things"), engine=engine)

    with pytest.raises(error, match=f"sha256 {SHA256}: .*{said}"):
        await (sync.acreate() if how == "sync" else sync.aplan())
