"""What one task of an engine learns of a source that fails, syncs, servers and repairs know."""

from pathlib import Path

import blake3
import pytest

from flowsync import Engine, Remote, verify
from flowsync.errors import DigestMismatchError
from flowsync.model.remote import remote_name
from flowsync.serve.app import ContentServer, ServerLimits
from flowsync.sources.file import FileFirstStage
from flowsync.sync import alternate_sources
from tests.integration.serve.conftest import Client, settled
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.system.publishing import publish as publish_below
from tests.upstream.behaviours import Corrupt, Drop
from tests.upstream.server import Upstream

FILES = {"a": b"bytes of a", "b": b"bytes of b"}
ON_DEMAND = {"policy": "on_demand"}


async def add_near(engine: Engine, upstream: Upstream) -> None:
    """Have an alternate source for all files."""
    publish_below(upstream, FILES, "/near")
    name = remote_name("near", "file")
    near = Remote(name=name, url=upstream.url("/near/"), policy="on_demand", max_retries=0)
    await alternate_sources.add_alternate_source(engine, "near", "file", near, priority=0, paths=())
    await alternate_sources.refresh_alternate_source(engine, "near", FileFirstStage)


async def test_a_server_leaves_a_source_alone_that_gave_a_sync_wrong_bytes(
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
    server: ContentServer,
) -> None:
    url = publish(FILES)
    await file_sync(url, remote={**ON_DEMAND, "name": "first"}).acreate()
    second = publish_below(upstream, FILES, "/second")
    await file_sync(second, remote={**ON_DEMAND, "name": "second"}).acreate()
    upstream.always("/a", Corrupt())
    with pytest.raises(DigestMismatchError):
        await file_sync(url, name="copy").acreate()

    reply = await client.get("/files/a")
    await settled(server)

    assert (reply.status, reply.body) == (200, FILES["a"])
    assert (upstream.count("/a"), upstream.count("/second/a")) == (1, 1)


async def test_a_sync_that_gets_the_right_bytes_ends_it(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    url = publish({"a": FILES["a"]})
    await file_sync(url, remote=ON_DEMAND).acreate()
    upstream.script("/a", Corrupt())
    with pytest.raises(DigestMismatchError):
        await file_sync(url, name="copy").acreate()

    async with ContentServer(engine) as server:
        refused = await Client(server.addresses[0][1]).get("/files/a")
    await file_sync(url, name="copy").acreate()
    wanted = str(engine.store.local(blake3.blake3(FILES["a"]).hexdigest()))
    Path(wanted).unlink()
    async with ContentServer(engine, limits=ServerLimits()) as server:
        reply = await Client(server.addresses[0][1]).get("/files/a")

    assert (refused.status, reply.status, reply.body) == (502, 200, FILES["a"])
    assert upstream.count("/a") == 3


async def test_a_sync_asks_last_who_a_server_could_not_reach(
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
    client: Client,
) -> None:
    url = publish(FILES)
    await file_sync(url, remote=ON_DEMAND).acreate()
    await add_near(engine, upstream)
    upstream.always("/near/a", Drop())

    reply = await client.get("/files/a")
    await file_sync(url, name="copy", acs=True).acreate()

    assert (reply.status, reply.body) == (200, FILES["a"])
    assert upstream.count("/near/a") > 0
    assert (upstream.count("/near/b"), upstream.count("/b")) == (0, 1)
    assert await paths(engine, "copy") == {"a": True, "b": True}


async def test_a_repair_asks_last_who_a_sync_could_not_reach(
    engine: Engine, upstream: Upstream, publish: Publish, file_sync: Sync
) -> None:
    """Of two sources of the lost bytes the first one that was recorded is not there."""
    first = publish_below(upstream, {**FILES, "c": b"bytes of c"}, "/first")
    await file_sync(first, remote={**ON_DEMAND, "name": "first"}, name="first").acreate()
    await file_sync(publish(FILES)).acreate()
    upstream.always("/first/c", Drop())
    await file_sync(
        first, remote={"name": "first"}, name="first", force=True, on_error="skip"
    ).acreate()
    asked = upstream.count("/first/b")
    Path(str(engine.store.local(blake3.blake3(FILES["b"]).hexdigest()))).unlink()

    report = await verify(engine, repair=True)

    assert (report.missing, report.repaired) == (1, 1)
    assert (upstream.count("/first/b"), upstream.count("/b")) == (asked, 2)
