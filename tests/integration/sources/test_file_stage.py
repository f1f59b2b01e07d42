"""The first stage of the file source alone: in a pipeline without a database, with a real
fetcher.
"""

import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowsync import DeclarativeContent, EndStage, MetadataError, Remote, Stage, create_pipeline
from flowsync.download.fetcher import open_fetcher
from flowsync.model.remote import Fetcher
from flowsync.pipeline.pipeline import Pipeline
from flowsync.pipeline.stage import Progress
from flowsync.sources.file import FileFirstStage
from flowsync.stages.upstream import (
    SyncTerms,
    UpstreamMemory,
    UpstreamRecord,
    UpstreamUnchanged,
)
from tests.upstream.behaviours import Gzip
from tests.upstream.server import Upstream

A = "a" * 64


class Context(msgspec.Struct, frozen=True):
    """What the stage asks of its run."""

    upstream: UpstreamMemory
    staging: str


class Collect(Stage):
    """Keeps what comes, or only counts it."""

    def __init__(self, *, keep: bool = True) -> None:
        self.keep = keep
        self.count = 0
        self.items_seen: list[DeclarativeContent] = []

    async def run(self) -> None:
        async for batch in self.batches():
            self.count += len(batch)
            if self.keep:
                self.items_seen += batch


@pytest.fixture
async def fetcher(tmp_path: Path) -> AsyncIterator[Fetcher]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    async with open_fetcher(scratch) as fetcher:
        yield fetcher


async def nothing_missing() -> int:
    return 0


def context(staging: Path, record: UpstreamRecord | None = None) -> Context:
    memory = UpstreamMemory(record, mirror=False, version=0, count_missing=nothing_missing)
    return Context(memory, str(staging))


async def run(
    fetcher: Fetcher, url: str, where: Context, *, keep: bool = True, **fields: Any
) -> Collect:
    remote = Remote(name="files", url=url, max_retries=0, **fields)
    remote.bind(fetcher)
    collect = Collect(keep=keep)
    stages = [FileFirstStage(remote), collect, EndStage()]
    await create_pipeline(stages, maxsize=500, context=where)
    return collect


async def test_each_line_becomes_a_declared_file(
    fetcher: Fetcher, upstream: Upstream, tmp_path: Path
) -> None:
    url = upstream.put("/dir/PULP_MANIFEST", f"# two\na b,{A},0\n\nc,{A.upper()},7\r\n".encode())
    where = context(tmp_path)

    collect = await run(fetcher, url, where)

    first, second = collect.items_seen
    (artifact,) = first.d_artifacts
    assert msgspec.structs.asdict(first.content) == {"relative_path": "a b", "sha256": A}
    assert (artifact.url, artifact.relative_path) == (upstream.url("/dir/a%20b"), "a b")
    assert (artifact.artifact.size, artifact.artifact.sha256) == (0, A)
    assert artifact.deferred_download is False
    assert second.d_artifacts[0].artifact.size == 7
    record = where.upstream.record(1)
    assert record is not None
    assert sorted(record.seen) == ["etag", "sha256"]


async def test_files_of_a_lazy_remote_are_deferred(
    fetcher: Fetcher, upstream: Upstream, tmp_path: Path
) -> None:
    url = upstream.put("/PULP_MANIFEST", f"a,{A},1\n".encode())

    collect = await run(fetcher, url, context(tmp_path), policy="on_demand")

    assert collect.items_seen[0].d_artifacts[0].deferred_download is True


async def test_a_url_with_a_slash_at_its_end_is_the_folder_of_the_manifest(
    fetcher: Fetcher, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.put("/dir/PULP_MANIFEST", f"a,{A},1\n".encode())

    collect = await run(fetcher, upstream.url("/dir/"), context(tmp_path))

    assert collect.items_seen[0].d_artifacts[0].url == upstream.url("/dir/a")


async def test_a_compressed_manifest_is_read_as_it_was(
    fetcher: Fetcher, upstream: Upstream, tmp_path: Path
) -> None:
    url = upstream.put("/PULP_MANIFEST", f"a,{A},1\n".encode())
    upstream.script("/PULP_MANIFEST", Gzip())

    collect = await run(fetcher, url, context(tmp_path))

    assert collect.count == 1


@pytest.mark.parametrize("etag", ["strong", None])
async def test_an_unchanged_manifest_ends_the_sync(
    fetcher: Fetcher, upstream: Upstream, tmp_path: Path, etag: str | None
) -> None:
    """Shown by a 304 and by the digest of the same bytes."""
    url = upstream.put("/PULP_MANIFEST", f"a,{A},1\n".encode(), etag=etag, last_modified=None)
    before = context(tmp_path)
    await run(fetcher, url, before)
    record = before.upstream.record(0)

    with pytest.raises(UpstreamUnchanged):
        await run(fetcher, url, context(tmp_path, record))

    assert [seen.status for seen in upstream.requests()] == [200, 304 if etag else 200]


async def test_what_another_kind_of_source_remembered_counts_for_nothing(
    fetcher: Fetcher, upstream: Upstream, tmp_path: Path
) -> None:
    url = upstream.put("/PULP_MANIFEST", f"a,{A},1\n".encode())
    terms = SyncTerms(url=url, remote="files", policy="immediate", mirror=False, version=0)

    collect = await run(fetcher, url, context(tmp_path, UpstreamRecord(terms=terms, seen={"x": 1})))

    assert collect.count == 1


async def test_an_error_names_the_manifest_without_what_its_url_hides(
    fetcher: Fetcher, upstream: Upstream, tmp_path: Path
) -> None:
    url = upstream.put("/PULP_MANIFEST", b"bad\n")

    with pytest.raises(MetadataError) as caught:
        await run(fetcher, f"{url}?token=secret", context(tmp_path))

    assert (
        str(caught.value)
        == f"{url}?token=***: manifest line 1: it is not 'path,sha256,size': 'bad'"
    )


async def test_a_bad_line_far_behind_is_named_by_its_number(
    fetcher: Fetcher, upstream: Upstream, tmp_path: Path
) -> None:
    lines = [f"{number},{A},1" for number in range(3000)]
    url = upstream.put("/PULP_MANIFEST", "\n".join([*lines, "# ok", "bad"]).encode())

    with pytest.raises(MetadataError, match="manifest line 3002: "):
        await run(fetcher, url, context(tmp_path))


async def test_progress_ends_at_the_number_of_files_not_of_lines(
    fetcher: Fetcher, upstream: Upstream, tmp_path: Path
) -> None:
    manifest = "".join(f"# comment\n\n{number},{A},1\n" for number in range(100))
    url = upstream.put("/PULP_MANIFEST", manifest.encode())
    remote = Remote(name="files", url=url)
    remote.bind(fetcher)
    stage, readings = FileFirstStage(remote), {}

    class Watch(Collect):
        async def run(self) -> None:
            await super().run()
            for code in ("sync.parsing.metadata", "associating.content"):
                readings[code] = self.meter(code, "").read()

    await Pipeline(
        [stage, Watch(), EndStage()], context=context(tmp_path), progress=Progress()
    ).run()

    assert (readings["sync.parsing.metadata"].done, readings["sync.parsing.metadata"].total) == (
        300,
        300,
    )
    assert readings["associating.content"].total == 100


async def test_memory_does_not_grow_with_the_manifest(fetcher: Fetcher, tmp_path: Path) -> None:
    """60 000 lines are 5 MB of text and would be over 60 MB of declarations. No more of them,
    because tracing is slow.
    """
    manifest = tmp_path / "PULP_MANIFEST"
    manifest.write_text("".join(f"pool/{number:06}.txt,{A},1\n" for number in range(60_000)))
    tracemalloc.start()
    try:
        collect = await run(fetcher, manifest.as_uri(), context(tmp_path), keep=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert collect.count == 60_000
    assert peak < 8_000_000
