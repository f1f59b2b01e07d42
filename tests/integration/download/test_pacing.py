"""How often and how fast one host is asked, over real connections."""

import asyncio
import time

import pytest

from flowsync import Remote
from flowsync.download.transfer.spool import Spool
from flowsync.errors import StatusError
from flowsync.model.remote import FetchRequest
from tests.integration.download.conftest import Client
from tests.upstream.behaviours import Hold, Status
from tests.upstream.server import Upstream


async def fetch(client: Client, url: str, remote: Remote) -> bytes | None:
    sink = Spool(str(client.scratch), 1 << 20)
    await client.fetcher.stream(FetchRequest(url=url, remote=remote), sink)
    return sink.body


async def test_host_gets_sixteen_requests_at_first_from_all_remotes_together(
    client: Client, upstream: Upstream
) -> None:
    urls = [upstream.put(f"/{number}", b"body") for number in range(40)]
    for number in range(40):
        upstream.always(f"/{number}", Hold())
    remotes = [Remote(name=name, url=upstream.url("/")) for name in ("one", "other")]

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(fetch(client, url, remotes[number % 2]))
            for number, url in enumerate(urls)
        ]
        await asyncio.to_thread(upstream.wait_for, 16)
        seen = upstream.count()
        upstream.release()

    assert seen == 16
    assert [task.result() for task in tasks] == [b"body"] * 40


async def test_host_is_asked_no_more_often_than_its_rate_allows(
    client: Client, upstream: Upstream
) -> None:
    client.fields["rate_limit"] = 50
    urls = [upstream.put(f"/{number}", b"body") for number in range(16)]

    started = time.monotonic()
    await asyncio.gather(*(client.get(url) for url in urls))

    # Fifteen intervals of 20 ms, of which a tenth of a second may be made up for.
    assert time.monotonic() - started > 0.19


async def test_bodies_come_no_faster_than_the_rate_of_bytes_allows(
    client: Client, upstream: Upstream
) -> None:
    client.fields["bandwidth_limit"] = 1_000_000
    body = bytes(400_000)
    url = upstream.put("/a", body)

    started = time.monotonic()
    found = (await client.get(url), await client.get(url))

    assert found == (body, body)
    # The last bytes of the last body make only the next one wait.
    assert time.monotonic() - started > 0.29


async def test_retry_after_holds_up_requests_for_other_files_too(
    client: Client, upstream: Upstream
) -> None:
    busy, other = upstream.put("/busy", b"busy"), upstream.put("/other", b"other")
    upstream.script("/busy", Status(429, retry_after="1"))
    client.fields["max_retries"] = 0
    started = time.monotonic()
    with pytest.raises(StatusError):
        await client.get(busy)

    found = await asyncio.gather(client.get(other), client.get(busy))

    assert list(found) == [b"other", b"busy"]
    # The client grants no more than 50 ms.
    assert time.monotonic() - started > 0.04
    assert upstream.peak == 1
