"""An open engine, and upstreams made of a few files."""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from flowsync import DeclarativeVersion, Engine, Remote, Repository
from flowsync.sources.file import FileFirstStage
from tests.upstream.server import Upstream

Publish = Callable[[Mapping[str, bytes]], str]
Sync = Callable[..., DeclarativeVersion]


@pytest.fixture
async def engine(conninfo: str, tmp_path: Path) -> AsyncIterator[Engine]:
    async with Engine(tmp_path / "home", database_url=conninfo) as engine:
        yield engine


@pytest.fixture
def publish(upstream: Upstream) -> Publish:
    """Put files and their manifest upstream; return the manifest's URL."""

    def put(files: Mapping[str, bytes]) -> str:
        lines = []
        for path, body in files.items():
            upstream.put(f"/{quote(path, safe='/:')}", body)
            lines.append(f"{path},{hashlib.sha256(body).hexdigest()},{len(body)}")
        return upstream.put("/PULP_MANIFEST", "\n".join(lines).encode())

    return put


@pytest.fixture
def file_sync(engine: Engine) -> Sync:
    """Make a sync of a manifest into the repository "files"; `remote` takes fields of the remote,
    `options` those of the sync.
    """

    def make(
        url: str,
        *,
        name: str = "files",
        remote: Mapping[str, object] | None = None,
        **options: object,
    ) -> DeclarativeVersion:
        fields = {"max_retries": 0, "name": name, **(remote or {})}
        stage = FileFirstStage(Remote(url=url, **fields))  # type: ignore[arg-type]
        options.setdefault("engine", engine)
        return DeclarativeVersion(stage, Repository(name=name), **options)  # type: ignore[arg-type]

    return make


async def paths(engine: Engine, name: str = "files", number: int | None = None) -> dict[str, bool]:
    """Return the paths of a version, and whether their bytes are stored."""
    return {
        entry.relative_path: entry.stored
        async for batch in engine.catalog.repositories.entries(name, number)
        for entry in batch
    }
