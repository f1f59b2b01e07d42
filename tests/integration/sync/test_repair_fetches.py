"""A repair takes its bytes as a sync does: it goes on where a transfer broke off, and shares what
the engine is fetching.
"""

import asyncio
import os
from pathlib import Path

import blake3
import pytest

from flowsync import Engine, Remote, verify
from flowsync.serve.app import ContentServer
from tests.integration.serve.conftest import Client, settled
from tests.integration.sync import damage
from tests.integration.sync.conftest import Publish, Sync
from tests.integration.sync.test_resume import partials
from tests.upstream.behaviours import Cut, Hold
from tests.upstream.server import Upstream

MIB = 1 << 20
LARGE = os.urandom(MIB) * 9
CUT = 5 * MIB
SMALL = b"small"


def blob(engine: Engine, body: bytes) -> Path:
    return Path(str(engine.store.local(blake3.blake3(body).hexdigest())))


def patient(name: str) -> Remote:
    return Remote(name=name, url="http://localhost/", max_retries=0)


async def test_repair_goes_on_from_what_the_one_before_has_left(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync, tmp_path: Path
) -> None:
    await file_sync(publish({"a": LARGE})).acreate()
    damage.remove(blob(engine, LARGE))
    upstream.script("/a", Cut(CUT))

    first = await verify(engine, repair=True, find_remote=patient)
    second = await verify(engine, repair=True, find_remote=patient)

    assert [(report.missing, report.repaired) for report in (first, second)] == [(1, 0), (1, 1)]
    assert upstream.requests("/a")[2].headers["range"] == f"bytes={CUT}-"
    assert "if-range" in upstream.requests("/a")[2].headers
    assert blob(engine, LARGE).read_bytes() == LARGE
    assert partials(tmp_path) == []


@pytest.mark.parametrize("harm", [damage.remove, damage.flip])
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
async def test_clients_and_a_repair_ask_upstream_once(
    harm: object, body: bytes, engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a": body})).acreate()
    assert callable(harm)
    harm(blob(engine, body))
    await verify(engine)
    upstream.script("/a", Hold())

    async with ContentServer(engine) as server:
        client = Client(server.addresses[0][1])
        async with asyncio.TaskGroup() as group:
            repairing = group.create_task(verify(engine, repair=True, find_remote=patient))
            await asyncio.to_thread(upstream.wait_for, 2, "/a")
            asking = [group.create_task(client.get("/files/a")) for _ in range(5)]
            while not server.metrics.running_fetches:  # noqa: ASYNC110 - only a test waits for it
                await asyncio.sleep(0.01)
            upstream.release()
        await settled(server)

    assert all(reply.result().body == body for reply in asking)
    assert repairing.result().repaired == 1
    assert upstream.count("/a") == 2
    assert blob(engine, body).read_bytes() == body


async def test_a_repair_gets_what_clients_are_waiting_for(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    await file_sync(publish({"a": SMALL, "b": b"other"})).acreate()
    damage.remove(blob(engine, SMALL))
    damage.remove(blob(engine, b"other"))
    upstream.script("/a", Hold())

    async with ContentServer(engine) as server:
        client = Client(server.addresses[0][1])
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(client.get("/files/a"))
            await asyncio.to_thread(upstream.wait_for, 2, "/a")
            repairing = group.create_task(verify(engine, repair=True, find_remote=patient))
            await asyncio.to_thread(upstream.wait_for, 2, "/b")
            upstream.release()
        await settled(server)

    assert asking.result().body == SMALL
    assert repairing.result().repaired == 2
    assert upstream.count("/a") == 2
    assert blob(engine, SMALL).read_bytes() == SMALL
