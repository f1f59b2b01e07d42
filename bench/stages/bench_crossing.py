"""What an item costs on its way to a worker process and back: the four steps of its codecs, in
batches as they are sent.

Each item is a file with one artifact and digests, of which the worker learns size, digests and the
staged file, as after a download. The table is in time a batch; `-s` prints µs an item (median) and
its bytes on the way, which are also in the saved figures. Left out: the pipes of the executor, the
downloads, and bodies small enough to be in memory, which a worker writes to files while it encodes
its answer.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import uvloop
from blake3 import blake3
from pytest_benchmark.fixture import BenchmarkFixture

from flowsync import Artifact, Content, DeclarativeArtifact, DeclarativeContent, Remote
from flowsync.download.fetcher import open_fetcher
from flowsync.model.artifact import StagedArtifact
from flowsync.model.remote import Fetcher
from flowsync.pipeline.remote.segment import LARGEST_BATCH
from flowsync.stages.remote.codecs import DeclarationCodec, WorkerDeclarationCodec

STAGING = "/srv/flowsync/store/staging/0123456789abcdef"
ROUNDS = 200


class Package(Content):
    type_name: ClassVar[str] = "bench.package"
    natural_key: ClassVar[tuple[str, ...]] = ("relative_path", "sha256")
    relative_path: str
    sha256: str


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[Fetcher]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        opening = open_fetcher(str(tmp_path))
        yield runner.run(opening.__aenter__())
        runner.run(opening.__aexit__(None, None, None))


def declare(count: int) -> list[DeclarativeContent]:
    remote = Remote(name="bench", url="https://example.org/debian/", download_concurrency=16)
    items = []
    for number in range(count):
        sha256 = hashlib.sha256(b"%d" % number).hexdigest()
        path = f"pool/main/p/package-{number}/package-{number}_1.0-1_amd64.deb"
        artifact = DeclarativeArtifact(
            Artifact(size=4096, sha256=sha256),
            url=remote.url + path,
            relative_path=path,
            remote=remote,
        )
        items.append(DeclarativeContent(Package(path, sha256), [artifact]))
    return items


def learn(items: list[DeclarativeContent]) -> list[DeclarativeContent]:
    """Do to the items what a download does."""
    for item in items:
        (declared,) = item.d_artifacts
        sha256 = declared.artifact.sha256
        assert sha256 is not None
        declared.artifact = StagedArtifact(
            size=4096,
            sha256=sha256,
            blake3=blake3(sha256.encode()).hexdigest(),
            file=f"{STAGING}/{sha256[:32]}",
        )
    return items


class Crossing:
    """A batch, the pipeline's codec, and both messages of the batch."""

    def __init__(self, fetcher: Fetcher, count: int) -> None:
        self.items = declare(count)
        self.order = list(range(count))
        self.codec = DeclarationCodec(STAGING, workers=2)
        self.fetcher = fetcher
        self.question = self.codec.encode(self.items)
        self.answer = self.encode_answer(*self.arrived())

    def arrived(self) -> tuple[WorkerDeclarationCodec, list[DeclarativeContent]]:
        """Return a worker's codec, and the items of the batch after their download there."""
        codec = WorkerDeclarationCodec(STAGING, self.fetcher)
        return codec, learn(codec.decode(self.question))

    def encode_answer(
        self, codec: WorkerDeclarationCodec, items: list[DeclarativeContent]
    ) -> bytes:
        return codec.encode(items, self.order)


@pytest.fixture
def crossing(benchmark: BenchmarkFixture, fetcher: Fetcher) -> Iterator[Crossing]:
    crossing = Crossing(fetcher, LARGEST_BATCH if benchmark.enabled else 2)
    yield crossing
    count = len(crossing.items)
    info = benchmark.extra_info
    info["question_bytes"] = round(len(crossing.question) / count)
    info["answer_bytes"] = round(len(crossing.answer) / count)
    if benchmark.stats is not None:
        info["us_per_item"] = round(benchmark.stats.stats.median / count * 1e6, 2)
        print(f"\n{benchmark.name}: {info}")


def bench_encode_question(benchmark: BenchmarkFixture, crossing: Crossing) -> None:
    question = benchmark.pedantic(crossing.codec.encode, (crossing.items,), rounds=ROUNDS)

    assert question == crossing.question


def bench_decode_question(benchmark: BenchmarkFixture, crossing: Crossing) -> None:
    def decode() -> list[DeclarativeContent]:
        return WorkerDeclarationCodec(STAGING, crossing.fetcher).decode(crossing.question)

    items = benchmark.pedantic(decode, rounds=ROUNDS)

    assert [item.content for item in items] == [item.content for item in crossing.items]


def bench_encode_answer(benchmark: BenchmarkFixture, crossing: Crossing) -> None:
    answer = benchmark.pedantic(
        crossing.encode_answer, setup=lambda: (crossing.arrived(), {}), rounds=ROUNDS
    )

    assert answer == crossing.answer


def bench_merge_answer(benchmark: BenchmarkFixture, crossing: Crossing) -> None:
    merged = benchmark.pedantic(
        crossing.codec.merge, (crossing.answer, crossing.items, crossing.order), rounds=ROUNDS
    )

    assert merged == crossing.items
    assert all(isinstance(item.d_artifacts[0].artifact, StagedArtifact) for item in merged)
