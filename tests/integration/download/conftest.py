"""A fetcher that waits milliseconds where the real one waits seconds, and what tests ask of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flowsync.download.fetcher import Backoff, open_fetcher
from flowsync.download.transfer.spool import Spool
from flowsync.model.remote import Fetcher, FetchRequest, Received, Remote
from tests.upstream.server import Upstream

QUICK = Backoff(base=0.002, cap=0.01, patience=0.05)


class Client:
    """Fetches from the upstream with one remote, whose fields a test sets as it likes."""

    def __init__(self, fetcher: Fetcher, scratch: Path, base: str) -> None:
        self.fetcher = fetcher
        self.scratch = scratch
        self.fields: dict[str, Any] = {"name": "upstream", "url": base}

    def request(self, url: str, **fields: Any) -> FetchRequest:
        return FetchRequest(url=url, remote=Remote(**self.fields), **fields)

    async def get(self, url: str, **fields: Any) -> bytes:
        """Return a body that was streamed."""
        body, _ = await self.receive(url, **fields)
        return body

    async def receive(self, url: str, **fields: Any) -> tuple[bytes, Received]:
        sink = Spool(str(self.scratch), 1 << 30)
        received = await self.fetcher.stream(self.request(url, **fields), sink)
        return sink.body or b"", received

    def leftovers(self) -> list[Path]:
        return list(self.scratch.iterdir())


@pytest.fixture
async def client(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Client]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    async with open_fetcher(scratch, [], user_agent="flowsync/1", backoff=QUICK) as fetcher:
        yield Client(fetcher, scratch, upstream.url("/"))


@pytest.fixture
def body() -> bytes:
    """Give 300 kB that differ everywhere."""
    return b"".join(number.to_bytes(4, "big") for number in range(75_000))
