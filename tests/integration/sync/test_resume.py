"""Large bodies that a run did not bring to their end: the next one goes on from the bytes that are
there, if upstream still has the same.
"""

import asyncio
import hashlib
import os
import time
from pathlib import Path

import pytest

from flowsync import Engine
from flowsync.errors import TransferError
from flowsync.store.staging import LIFETIME
from flowsync.testing.bodies import read
from tests.integration.sync.conftest import Publish, Sync, paths
from tests.upstream.behaviours import Corrupt, Cut, IgnoreRange, Status, WrongRange
from tests.upstream.server import Upstream

MIB = 1 << 20
LARGE = os.urandom(MIB) * 9
CUT = 5 * MIB


def partials(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "home" / "store" / "staging" / "partial").glob("*"))


async def stored(engine: Engine, body: bytes) -> bool:
    """Return whether the only file of the repository is stored, and is this one."""
    entries = [
        entry async for batch in engine.catalog.repositories.entries("files") for entry in batch
    ]
    assert [entry.sha256 for entry in entries] == [hashlib.sha256(body).hexdigest()]
    blob = entries[0].blake3
    assert blob is not None
    return await read(engine.store, blob) == body


async def fail(sync: Sync, url: str) -> None:
    with pytest.raises(TransferError):
        await sync(url).acreate()


async def test_next_run_fetches_only_the_rest(
    engine: Engine, publish: Publish, file_sync: Sync, upstream: Upstream, tmp_path: Path
) -> None:
    url = publish({"large": LARGE})
    upstream.script("/large", Cut(CUT))
    await fail(file_sync, url)

    await file_sync(url).acreate()

    assert upstream.requests("/large")[1].headers["range"] == f"bytes={CUT}-"
    assert upstream.sent("/large") == len(LARGE)
    assert await stored(engine, LARGE)
    assert partials(tmp_path) == []


async def test_bytes_are_kept_over_several_failures(
    engine: Engine, publish: Publish, file_sync: Sync, upstream: Upstream
) -> None:
    url = publish({"large": LARGE})
    upstream.script("/large", Cut(2 * MIB), Cut(MIB), Status(404), Cut(3 * MIB))
    for _ in range(4):
        await fail(file_sync, url)

    await file_sync(url).acreate()

    asked = [seen.headers.get("range") for seen in upstream.requests("/large")]
    assert asked == [None, *(f"bytes={at * MIB}-" for at in (2, 3, 3, 6))]
    assert await stored(engine, LARGE)


async def test_changed_upstream_is_fetched_from_its_first_byte(
    engine: Engine, publish: Publish, file_sync: Sync, upstream: Upstream
) -> None:
    url = publish({"large": LARGE})
    upstream.put("/large", bytes(len(LARGE)))
    upstream.script("/large", Cut(CUT))
    await fail(file_sync, url)
    upstream.put("/large", LARGE)

    await file_sync(url).acreate()

    assert upstream.requests("/large")[1].headers["range"] == f"bytes={CUT}-"
    assert upstream.sent("/large") == CUT + len(LARGE)
    assert await stored(engine, LARGE)


@pytest.mark.parametrize("etag", [None, "weak"])
async def test_body_without_a_strong_validator_is_not_continued(
    engine: Engine,
    publish: Publish,
    file_sync: Sync,
    upstream: Upstream,
    tmp_path: Path,
    etag: str | None,
) -> None:
    url = publish({"large": LARGE})
    upstream.put("/large", LARGE, etag=etag, last_modified=None)
    upstream.script("/large", Cut(CUT))
    await fail(file_sync, url)
    assert partials(tmp_path) == []

    await file_sync(url).acreate()

    assert "range" not in upstream.requests("/large")[1].headers
    assert await stored(engine, LARGE)


@pytest.mark.parametrize("behaviour", [IgnoreRange(), WrongRange(), Corrupt(MIB)])
async def test_a_rest_that_does_not_fit_begins_the_body_again_in_the_same_run(
    engine: Engine,
    publish: Publish,
    file_sync: Sync,
    upstream: Upstream,
    behaviour: IgnoreRange | WrongRange | Corrupt,
) -> None:
    url = publish({"large": LARGE})
    upstream.script("/large", Cut(CUT), behaviour)
    await fail(file_sync, url)

    await file_sync(url).acreate()

    assert await stored(engine, LARGE)


async def test_damaged_bytes_on_disk_are_found_and_fetched_again(
    engine: Engine, publish: Publish, file_sync: Sync, upstream: Upstream, tmp_path: Path
) -> None:
    url = publish({"large": LARGE})
    upstream.script("/large", Cut(CUT))
    await fail(file_sync, url)
    kept, _ = partials(tmp_path)
    with open(kept, "r+b") as file:
        file.seek(MIB)
        file.write(bytes([LARGE[0] ^ 0xFF]))

    await file_sync(url).acreate()

    assert [seen.headers.get("range") for seen in upstream.requests("/large")] == [
        None,
        f"bytes={CUT}-",
        None,
    ]
    assert await stored(engine, LARGE)


async def test_whole_body_needs_no_request(
    engine: Engine, publish: Publish, file_sync: Sync, upstream: Upstream, tmp_path: Path
) -> None:
    """As after a kill between the last byte and the record of it."""
    url = publish({"large": LARGE})
    upstream.script("/large", Cut(CUT))
    await fail(file_sync, url)
    kept, _ = partials(tmp_path)
    kept.write_bytes(LARGE)

    await file_sync(url).acreate()

    assert upstream.count("/large") == 1
    assert await stored(engine, LARGE)


async def test_more_bytes_than_the_body_has_are_thrown_away(
    engine: Engine, publish: Publish, file_sync: Sync, upstream: Upstream, tmp_path: Path
) -> None:
    url = publish({"large": LARGE})
    upstream.script("/large", Cut(CUT))
    await fail(file_sync, url)
    kept, _ = partials(tmp_path)
    kept.write_bytes(LARGE + b"!")

    await file_sync(url).acreate()

    assert "range" not in upstream.requests("/large")[1].headers
    assert await stored(engine, LARGE)


async def test_two_engines_at_one_store_do_not_disturb_each_other(
    engine: Engine,
    conninfo: str,
    publish: Publish,
    file_sync: Sync,
    upstream: Upstream,
    tmp_path: Path,
) -> None:
    url = publish({"large": LARGE})
    upstream.script("/large", Cut(CUT))
    await fail(file_sync, url)

    async with Engine(tmp_path / "home", database_url=conninfo) as other:
        here, there = file_sync(url), file_sync(url, name="others")
        there._engine = other
        versions = await asyncio.gather(here.acreate(), there.acreate())

    assert [version and version.number for version in versions] == [1, 1]
    assert await stored(engine, LARGE)
    assert await paths(engine, "others") == {"large": True}
    assert partials(tmp_path) == []


async def test_small_bodies_leave_nothing(
    engine: Engine, publish: Publish, file_sync: Sync, upstream: Upstream, tmp_path: Path
) -> None:
    url = publish({"small": LARGE[: 2 * MIB]})
    upstream.script("/small", Cut(MIB))
    await fail(file_sync, url)

    assert partials(tmp_path) == []


async def test_old_bytes_go_when_a_store_is_opened(
    engine: Engine,
    conninfo: str,
    publish: Publish,
    file_sync: Sync,
    upstream: Upstream,
    tmp_path: Path,
) -> None:
    url = publish({"large": LARGE})
    upstream.script("/large", Cut(CUT))
    await fail(file_sync, url)
    kept, record = partials(tmp_path)

    async with Engine(tmp_path / "home", database_url=conninfo):
        assert partials(tmp_path) == [kept, record]
    then = time.time() - LIFETIME - 60
    os.utime(kept, (then, then))
    async with Engine(tmp_path / "home", database_url=conninfo):
        assert partials(tmp_path) == []
