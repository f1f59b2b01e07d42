"""Thousands of reads while upstream's files change: some are broken off, none is completed with
wrong bytes.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable

import pytest

from flowsync import Engine
from flowsync.serve.app import ContentServer, ServerLimits
from tests.integration.serve.conftest import Reply, read_reply
from tests.integration.sync.conftest import Publish, Sync
from tests.upstream.server import Upstream

READS = int(os.environ.get("FLOWSYNC_READS", "3000"))
CLIENTS = 48
SIZES = [0, 1, 900, 4096, 70_000, 300_000]
CHANGE_EVERY = 100
"""Reads after which one file of upstream becomes another one, or what it was when it was synced."""

Choice = tuple[str, slice]


def files(dice: random.Random) -> dict[str, bytes]:
    return {f"f{number}": dice.randbytes(SIZES[number % len(SIZES)]) for number in range(48)}


def other(body: bytes, dice: random.Random) -> bytes:
    """Return what the file may have become: another byte, a byte less, a byte more, or all
    of it.
    """
    at = dice.randrange(len(body) + 1)
    flipped = body[:at] + bytes(255 - byte for byte in body[at : at + 1]) + body[at + 1 :]
    return dice.choice([flipped, body[:-1], body + b"\n", dice.randbytes(len(body))])


def choose(wanted: dict[str, bytes], dice: random.Random) -> Choice:
    """Choose a file, and all of it or a part."""
    path = dice.choice(sorted(wanted))
    size = len(wanted[path])
    if size < 2 or dice.random() < 0.7:
        return path, slice(0, size)
    first = dice.randrange(size - 1)
    return path, slice(first, dice.randrange(first + 1, size))


class Reader:
    """Reads over one connection, and over a new one when that was broken off."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def read(self, choice: Choice, size: int) -> Reply:
        path, part = choice
        asked = f"GET /files/{path} HTTP/1.1\r\nHost: h\r\n"
        if part != slice(0, size):
            asked += f"Range: bytes={part.start}-{part.stop - 1}\r\n"
        if self._connection is None:
            self._connection = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._connection
        writer.write(f"{asked}\r\n".encode())
        reply = await read_reply(reader)
        if not reply.complete:
            self.close()
        return reply

    def close(self) -> None:
        if self._connection is not None:
            self._connection[1].close()
        self._connection = None


@pytest.mark.parametrize("policy", ["on_demand", "streamed"])
async def test_no_read_is_completed_with_wrong_bytes_while_upstream_changes(
    policy: str,
    engine: Engine,
    upstream: Upstream,
    publish: Publish,
    file_sync: Sync,
) -> None:
    """What is stored on demand is taken away now and then, so that it is fetched again."""
    dice = random.Random(8)
    wanted = files(dice)
    await file_sync(publish(wanted), remote={"policy": policy}).acreate()
    seen: Counter[str] = Counter()
    share = READS * 4 // 5 if policy == "on_demand" else READS // 5
    turns = iter(range(share))

    async def client(port: int) -> None:
        reader = Reader(port)
        for turn in turns:
            if turn % CHANGE_EVERY == 0:
                await change(dice, wanted, upstream, engine)
            choice = choose(wanted, dice)
            body = wanted[choice[0]]
            reply = await reader.read(choice, len(body))
            if reply.status == 502 or not reply.complete:
                seen["refused" if reply.complete else "broken off"] += 1
                continue
            assert reply.status in {200, 206}
            assert reply.body == body[choice[1]]
            seen["right"] += 1
        reader.close()

    async with ContentServer(engine, limits=ServerLimits(cool_down=0.05)) as server:
        port = server.addresses[0][1]
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client(port))

    assert seen.total() == share
    assert seen["right"] > share / 2
    assert min(seen["refused"], seen["broken off"]) > 0


async def change(
    dice: random.Random, wanted: dict[str, bytes], upstream: Upstream, engine: Engine
) -> None:
    for path in dice.sample(sorted(wanted), 2):
        body = wanted[path]
        upstream.put(f"/{path}", other(body, dice) if dice.random() < 0.5 else body)
        found = await engine.catalog.serving.find("files", None, None, path)
        assert found is not None
        if found.blake3 is not None:
            await asyncio.to_thread(forget(str(engine.store.local(found.blake3))))


def forget(blob: str) -> Callable[[], None]:
    def remove() -> None:
        if os.path.exists(blob):
            os.unlink(blob)

    return remove
